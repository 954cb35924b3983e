//! From nothing to a guest that serves, without a snapshot.

use std::time::{Duration, Instant};

use benches::Subject;
use criterion::{Criterion, criterion_group, criterion_main};
use vmm_core::{Hypervisor, MARK_SERVING, Vm};

const TIMEOUT: Duration = Duration::from_secs(30);

fn boot(hypervisor: &Hypervisor) -> anyhow::Result<Duration> {
    let config = Subject::config();
    let begun = Instant::now();
    let vm = Vm::boot(hypervisor, &config, guest::ELF)?;
    vm.start()?;
    let serving = vm.handle().wait_mark(MARK_SERVING, TIMEOUT)?;
    Ok(serving.at.duration_since(begun))
}

fn bench(criterion: &mut Criterion) {
    let hypervisor = match Hypervisor::open() {
        Ok(hypervisor) => hypervisor,
        Err(lack) => return eprintln!("boot: skipped: {lack}"),
    };
    let mut group = criterion.benchmark_group("boot");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("until_serving", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| boot(&hypervisor).expect("the guest boots"))
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
