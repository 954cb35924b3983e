//! Putting a guest away: into a file, and back into the RAM it was restored from.

use std::path::Path;
use std::time::{Duration, Instant};

use benches::{Subject, mappable};
use criterion::{Criterion, criterion_group, criterion_main};
use snapshot::{Overwrite, RamImage, SaveOptions, Snapshot, SnapshotId};

fn options() -> SaveOptions<'static> {
    SaveOptions::new(SnapshotId([7; 16]), 0).overwrite(Overwrite::Replace)
}

/// A clone wakes, rests, and is taken back into its image: the time of the last.
fn absorb(subject: &Subject, snapshot: &Snapshot) -> anyhow::Result<Duration> {
    let mut image = RamImage::from_snapshot(snapshot)?;
    let mut vm = subject.wake(&mappable(&image)?)?;
    let paused = vm.pause()?;
    let sections = snapshot.sections().to_vec();
    let begun = Instant::now();
    image.absorb(paused.memory(), sections)?;
    Ok(begun.elapsed())
}

fn bench(criterion: &mut Criterion) {
    if let Some(lack) = benches::lack() {
        return eprintln!("snapshot: skipped: {lack}");
    }
    let subject = Subject::boot().expect("the guest boots and comes to rest");
    // The disk's speed is not ours to measure.
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    };
    let dir = dir.expect("there is a place for temporary files");
    let path = dir.path().join("guest.snapshot");
    let mut vm = subject.wake(subject.memory()).expect("the guest wakes");
    let paused = vm.pause().expect("the guest runs");
    let sections = subject.image().sections().expect("nothing was absorbed").to_vec();

    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("save", |bencher| {
        bencher.iter(|| snapshot::save(&path, paused.memory(), &sections, options()).expect("there is room"));
    });
    // The memory that belongs to the subject's state; that of the clone above has gone on.
    subject.image().persist(&path, options()).expect("there is room");
    let snapshot = Snapshot::open(&path).expect("it was just saved");
    group.bench_function("absorb", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| absorb(&subject, &snapshot).expect("the image takes its guest back"))
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
