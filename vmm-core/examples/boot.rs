//! The whole life of a micro-VM: boot, serve, pause, save, restore into a shell made ahead, serve on; and what each costs.
//!
//! `cargo run --release -p vmm-core --example boot`

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, FileOffset, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_core::{
    DetachedStreams, GenerationId, Hypervisor, ImageRegion, MARK_SERVING, MemoryImage, Restore, ShellPool,
    UserNetConfig, UserNetHandle, Vm, VmConfig,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(10);
const WAKES: usize = 300;

fn main() -> Result<()> {
    let hypervisor = Arc::new(Hypervisor::open()?);
    // One connection is kept open ahead, so that a request needs no handshake.
    let net = UserNetConfig::default().spare(PORT, 1);
    let config = VmConfig::default().memory_bytes(32 << 20).net(Some(net));

    let begun = Instant::now();
    let mut vm = Vm::boot(&hypervisor, &config, guest::ELF)?;
    vm.start()?;
    let handle = vm.handle();
    let serving = handle.wait_mark(MARK_SERVING, PATIENCE)?;
    say("boot until the guest serves", serving.at - begun);
    print!("{}", handle.serial_text());

    let net = vm.net().cloned().ok_or("the VM has no link")?;
    let begun = Instant::now();
    let (counted, first_byte) = count(&net)?;
    say("first request", first_byte - begun);
    println!("the guest has counted to {counted}");

    // What is saved in a moment of rest needs nothing done again.
    vm.settle(PATIENCE)?;
    let begun = Instant::now();
    let paused = vm.pause()?;
    say("pause", begun.elapsed());
    let begun = Instant::now();
    let state = Arc::new(paused.save()?);
    say("save all but memory", begun.elapsed());
    let begun = Instant::now();
    let memory = copy_memory(paused.memory())?;
    say("copy memory to a file", begun.elapsed());
    drop(vm);

    // Shells are made ahead, on the pool's own thread; so are used VMs destroyed.
    let pool = ShellPool::new(Arc::clone(&hypervisor), config, 1)?;
    pool.set_template(Arc::clone(&state).into());
    let mut wakes = Vec::with_capacity(WAKES);
    for _ in 0..WAKES {
        pool.wait_ready(1, PATIENCE)?;
        let shell = pool.take().ok_or("no shell is ready")?;
        let generation = GenerationId::random()?;
        let begun = Instant::now();
        let restore = Restore {
            state: &state,
            streams: DetachedStreams::default(),
            generation,
        };
        let vm = shell.adopt(&memory, restore)?;
        vm.start()?;
        let restored = begun.elapsed();
        let (counted, first_byte) = count(vm.net().ok_or("the VM has no link")?)?;
        wakes.push((restored, first_byte - begun));
        if counted != 2 {
            return Err(format!("the restored guest has counted to {counted}, not 2").into());
        }
        pool.retire(vm);
    }
    println!("{WAKES} copies of it went on to count to 2:");
    let (restored, answered): (Vec<_>, Vec<_>) = wakes.into_iter().unzip();
    say_quantiles("restore into a shell, until the guest runs", restored);
    say_quantiles("the same, until the first byte of its answer", answered);
    Ok(())
}

/// Asks the guest to count one further; answers the count, and when the first byte of the response was there.
fn count(net: &UserNetHandle) -> Result<(u32, Instant)> {
    let mut stream = net.connect(PORT)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /count HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
    let mut response = vec![0];
    stream.read_exact(&mut response)?;
    let first_byte = Instant::now();
    stream.read_to_end(&mut response)?;
    let response = String::from_utf8(response)?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or("half a response")?;
    Ok((body.trim().parse()?, first_byte))
}

/// Copies guest memory to a file that can be mapped. The `snapshot` crate does it better: holes, checksums, atomicity.
fn copy_memory(memory: &GuestMemoryMmap) -> Result<MemoryImage> {
    let mut file = tempfile::tempfile()?;
    let mut regions = Vec::new();
    let mut offset = 0;
    for region in memory.iter() {
        let len = usize::try_from(region.len())?;
        memory.write_all_volatile_to(region.start_addr(), &mut file, len)?;
        regions.push((region.start_addr(), region.len(), offset));
        offset += region.len();
    }
    let file = Arc::new(file);
    let region = |(gpa, len_bytes, start)| {
        let file = FileOffset::from_arc(Arc::clone(&file), start);
        ImageRegion { gpa, len_bytes, file }
    };
    Ok(MemoryImage {
        regions: regions.into_iter().map(region).collect(),
        populate: Vec::new(),
    })
}

fn say(what: &str, took: Duration) {
    println!("{what:<44} {:>8} us", took.as_micros());
}

fn say_quantiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .map_or(0, Duration::as_micros)
    };
    println!("{what:<44} {:>8} us   p99 {:>6} us", at(50), at(99));
}
