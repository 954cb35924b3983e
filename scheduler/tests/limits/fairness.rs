use scheduler::{Event, LimitsConfig, NodeConfig, RateLimit, Settings, TenantConfig, TenantId};

use crate::cluster::{Cluster, MIB, ms, service};

fn slow() -> Settings {
    Settings {
        limits: LimitsConfig {
            starts: Some(RateLimit::new(100, 1)),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

fn started(cluster: &Cluster, tenant: u64) -> usize {
    let of = cluster
        .starts
        .iter()
        .filter(|start| start.tenant == TenantId(tenant));
    of.count()
}

#[test]
fn a_tenant_with_a_thousand_starts_waiting_does_not_keep_another_waiting() {
    let mut cluster = Cluster::unchecked(&slow());
    for id in 0..1_000 {
        cluster.configure(id, service(1, MIB));
        cluster.request(id);
    }
    cluster.configure(5_000, service(2, MIB));
    let request = cluster.request(5_000);
    cluster.run(50);
    assert!(
        cluster.admitted[&request] <= ms(30),
        "{:?}",
        cluster.admitted[&request]
    );
}

#[test]
fn tenants_get_starts_by_weight_and_what_large_instances_take_counts_more() {
    let mut cluster = Cluster::unchecked(&slow());
    let heavy = TenantConfig {
        weight: 3,
        ..TenantConfig::default()
    };
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(1),
        config: heavy,
    });
    for id in 0..900 {
        let tenant = id % 3 + 1;
        let size = if tenant == 3 { 256 } else { 64 };
        cluster.configure(id, service(tenant, size * MIB));
        cluster.request(id);
    }
    cluster.wait(ms(2_000));
    let counts = [1, 2, 3].map(|tenant| started(&cluster, tenant));
    // Turns of 256 MiB for each weight: twelve, four and one.
    let turns = counts[2];
    assert!((10..=13).contains(&turns), "{counts:?}");
    assert!(
        counts[0].abs_diff(12 * turns) <= 12 && counts[1].abs_diff(4 * turns) <= 4,
        "{counts:?}"
    );
}

#[test]
fn a_quota_holds_back_its_tenant_only_and_says_so() {
    let mut cluster = Cluster::new(&Settings::default());
    let quota = TenantConfig {
        max_instances: Some(2),
        ..TenantConfig::default()
    };
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(1),
        config: quota,
    });
    for id in 0..4 {
        cluster.configure(id, service(1, MIB));
        cluster.request(id);
    }
    cluster.configure(9, service(2, MIB));
    cluster.request(9);
    assert_eq!((started(&cluster, 1), started(&cluster, 2)), (2, 1));
    assert_eq!(
        cluster.blocked(3).as_deref(),
        Some("tenant 1 has 2 instances of at most 2: one has to fall asleep or end")
    );
    cluster.run(40);
    assert_eq!(cluster.admitted.len(), 5, "as others fall asleep");
}

#[test]
fn within_a_tenant_priority_goes_first_but_not_for_ever() {
    let mut cluster = Cluster::new(&slow());
    for id in 0..60 {
        let mut config = service(0, 0);
        config.resources.priority = if id == 0 { 100 } else { 103 };
        cluster.configure(id, config);
    }
    cluster.configure(99, service(0, 0));
    cluster.request(99);
    let low = cluster.request(0);
    for id in 1..60 {
        cluster.request(id);
        cluster.run(10);
    }
    // Three steps of 100 ms: it is passed by those that come within them, and by no others.
    let waited = cluster.admitted[&low];
    assert!(waited >= ms(290) && waited <= ms(330), "{waited:?}");
}

#[test]
fn a_large_instance_is_not_starved_by_small_ones() {
    let settings = Settings {
        limits: LimitsConfig {
            node: NodeConfig::with_memory(1_000 * MIB),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    };
    let mut cluster = Cluster::new(&settings);
    for id in 0..40 {
        cluster.configure(id, service(0, 50 * MIB));
    }
    cluster.configure(99, service(1, 700 * MIB));
    for id in 0..18 {
        cluster.request(id);
    }
    cluster.progress_all();
    let large = cluster.request(99);
    // Small ones come and end all the time; each takes 40 ms.
    for step in 0..400 {
        cluster.request(step % 40);
        cluster.wait(ms(10));
        if step % 4 == 0 {
            cluster.progress_all();
        }
    }
    let waited = cluster.admitted.get(&large).expect("it is served");
    assert!(*waited <= ms(1_400), "{waited:?}");
}

#[test]
fn another_weight_counts_for_those_that_wait_already() {
    let mut cluster = Cluster::unchecked(&slow());
    for id in 0..400 {
        cluster.configure(id, service(id % 2 + 1, 64 * MIB));
        cluster.request(id);
    }
    let before = [1, 2].map(|tenant| started(&cluster, tenant));
    cluster.tell(Event::TenantConfigured {
        tenant: TenantId(1),
        config: TenantConfig {
            weight: 3,
            ..TenantConfig::default()
        },
    });
    cluster.wait(ms(1_000));
    let counts = [1, 2].map(|tenant| started(&cluster, tenant));
    let [heavy, light] = [counts[0] - before[0], counts[1] - before[1]];
    assert!((72..=78).contains(&heavy) && heavy + light == 100, "{counts:?}");
}
