//! From a saved guest to its first action, with the library and with system calls alone. `latency` has the distribution.

use std::time::Duration;

use benches::floor::{self, Saved, WarmShell};
use benches::{Pieces, Subject, library};
use criterion::{Criterion, criterion_group, criterion_main};
use kvm_ioctls::Kvm;

fn bench(criterion: &mut Criterion) {
    if let Some(lack) = benches::lack() {
        return eprintln!("restore: skipped: {lack}");
    }
    let subject = Subject::boot().expect("the guest boots and comes to rest");
    let saved = Saved::of(&subject).expect("the sections are those of docs/vm-state.md");
    let kvm = Kvm::new().expect("it was opened before");
    let mut group = criterion.benchmark_group("restore");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    let mut case = |name: &str, restore: &dyn Fn() -> anyhow::Result<Pieces>| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| restore().expect("the guest runs again").total())
                    .sum()
            });
        });
    };
    case("shell_floor", &|| WarmShell::new(&kvm, &saved)?.restore(&saved));
    case("shell", &|| library::adopt(&subject, library::shell(&subject)?));
    case("cold_floor", &|| floor::restore(&kvm, &saved));
    case("cold", &|| library::restore(&subject));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
