//! What several tests build on: a guest that serves, a saved one, HTTP, and waiting that ends.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use vmm_core::{
    DetachedStreams, GenerationId, Hypervisor, ImageRegion, MARK_SERVING, MemoryImage, Restore, Shell,
    StopReason, Template, Vm, VmConfig, VmHandle, VmState,
};

/// A test's name, and the test.
pub(crate) type Test = (&'static str, fn());

/// Ends every wait for what must come; never reached on a machine that is merely busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const MIB: u64 = 1 << 20;

/// The port the demo guest serves on.
pub(crate) const HTTP: u16 = 80;

/// An error with all its sources.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

pub(crate) fn hypervisor() -> Hypervisor {
    Hypervisor::open().unwrap()
}

/// A small VM for the demo guest.
pub(crate) fn config() -> VmConfig {
    VmConfig::default().memory_bytes(16 * MIB)
}

/// Boots the demo guest until it serves.
pub(crate) fn serving(hypervisor: &Hypervisor, config: &VmConfig) -> Vm {
    let vm = Vm::boot(hypervisor, config, guest::ELF).unwrap();
    vm.start().unwrap();
    let handle = vm.handle();
    if let Err(error) = handle.wait_mark(MARK_SERVING, PATIENCE) {
        panic!("{error}; serial: {:?}", handle.serial_text());
    }
    vm
}

/// Pauses the guest for a look.
fn is_quiet(vm: &mut Vm) -> bool {
    let paused = vm.pause().unwrap();
    let quiet = paused.is_quiet().unwrap();
    paused.resume().unwrap();
    quiet
}

/// Waits until the guest has no work left and nothing is under way on its link.
pub(crate) fn settle(vm: &mut Vm) {
    assert!(vm.settle(PATIENCE).unwrap(), "the guest is not quiet");
}

/// Waits until the guest has work.
pub(crate) fn wait_busy(vm: &mut Vm) {
    eventually("the guest is busy", || !is_quiet(vm));
}

/// A VM at rest: its memory in a file, and its state.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) memory: MemoryImage,
    pub(crate) state: VmState,
}

impl Saved {
    /// The pages that are not zero, as bytes.
    pub(crate) fn runs(&self) -> Vec<(GuestAddress, Vec<u8>)> {
        let mut runs = Vec::new();
        for region in &self.memory.regions {
            for offset in (0..region.len_bytes).step_by(4096) {
                let mut page = vec![0; 4096];
                let at = region.file.start() + offset;
                region.file.file().read_exact_at(&mut page, at).unwrap();
                if page.iter().any(|byte| *byte != 0) {
                    runs.push((GuestAddress(region.gpa.0 + offset), page));
                }
            }
        }
        runs
    }
}

/// Saves `vm`, which ends, and its open streams.
pub(crate) fn save(mut vm: Vm) -> (Saved, DetachedStreams) {
    let (state, streams) = vm.pause().unwrap().save_with_streams().unwrap();
    let memory = image_of(&vm);
    (Saved { memory, state }, streams)
}

/// A guest that serves and is at rest, saved without streams.
pub(crate) fn saved_serving(hypervisor: &Hypervisor, config: &VmConfig) -> Saved {
    let mut vm = serving(hypervisor, config);
    settle(&mut vm);
    save(vm).0
}

/// Copies guest memory to a file, zero pages left out.
pub(crate) fn image_of(vm: &Vm) -> MemoryImage {
    const CHUNK: usize = 64 << 10;
    let memory = vm.memory();
    let file = tempfile::tempfile().unwrap();
    let mut regions = Vec::new();
    let mut start = 0;
    let mut chunk = vec![0; CHUNK];
    for region in memory.iter() {
        let (gpa, len_bytes) = (region.start_addr(), region.len());
        for offset in (0..len_bytes).step_by(CHUNK) {
            memory
                .read_slice(&mut chunk, GuestAddress(gpa.0 + offset))
                .unwrap();
            if chunk.iter().any(|&byte| byte != 0) {
                file.write_all_at(&chunk, start + offset).unwrap();
            }
        }
        regions.push((gpa, len_bytes, start));
        start += len_bytes;
    }
    file.set_len(start).unwrap();
    MemoryImage {
        regions: regions
            .into_iter()
            .map(|(gpa, len_bytes, start)| ImageRegion {
                gpa,
                len_bytes,
                file: FileOffset::new(File::try_clone(&file).unwrap(), start),
            })
            .collect(),
        populate: Vec::new(),
    }
}

/// The ways to restore; all must come to the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Into a VM made for it.
    Cold,
    /// Into a shell of the shape.
    Shell,
    /// Into a shell that was made from the same state.
    Template,
    /// Copied into a shell whose pages were touched ahead.
    Filled,
}

pub(crate) const WAYS: [Way; 4] = [Way::Cold, Way::Shell, Way::Template, Way::Filled];

/// Restores and starts `saved`.
pub(crate) fn restore(
    way: Way,
    hypervisor: &Hypervisor,
    config: &VmConfig,
    saved: &Saved,
    streams: DetachedStreams,
) -> Vm {
    let restore = Restore {
        state: &saved.state,
        streams,
        generation: GenerationId::random().unwrap(),
    };
    let shell = |template| Shell::new(hypervisor, config, template).unwrap();
    let vm = match way {
        Way::Cold => Vm::restore(hypervisor, config, &saved.memory, restore),
        Way::Shell => shell(None).adopt(&saved.memory, restore),
        Way::Template => {
            let template = Template::from(Arc::new(saved.state.clone()));
            shell(Some(&template)).adopt(&saved.memory, restore)
        }
        Way::Filled => {
            let runs = saved.runs();
            let touched = runs
                .iter()
                .map(|(gpa, bytes)| (*gpa, bytes.len() as u64))
                .collect();
            let template = Template {
                state: Arc::new(saved.state.clone()),
                touched,
            };
            let runs = runs.iter().map(|(gpa, bytes)| (*gpa, bytes.as_slice()));
            shell(Some(&template)).fill(runs).unwrap().restore(restore)
        }
    };
    let vm = vm.unwrap_or_else(|error| panic!("{way:?}: {}", causes(&error)));
    vm.start().unwrap();
    vm
}

/// A connection to the guest that blocks, but not for ever.
pub(crate) fn connect(vm: &Vm) -> UnixStream {
    let stream = vm.net().unwrap().connect(HTTP).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request.
pub(crate) fn ask(stream: &mut UnixStream, target: &str) {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: guest\r\n\r\n").unwrap();
}

/// One request on an open connection; answers the body.
pub(crate) fn get(stream: &mut UnixStream, target: &str) -> String {
    ask(stream, target);
    String::from_utf8(read_response(stream)).unwrap()
}

/// One request on a connection of its own.
pub(crate) fn request(vm: &Vm, target: &str) -> String {
    get(&mut connect(vm), target)
}

/// Reads one response, which must be a 200, and answers its body.
pub(crate) fn read_response(stream: &mut impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

/// The value of `key` in the guest's `/info`.
pub(crate) fn info(vm: &Vm, key: &str) -> String {
    let text = request(vm, "/info");
    let (_, rest) = text
        .split_once(&format!("\"{key}\":"))
        .unwrap_or_else(|| panic!("no {key} in {text}"));
    let value = rest.split([',', '}']).next().unwrap();
    value.trim_matches('"').to_owned()
}

/// Hears of the VM's stop.
pub(crate) fn stops(handle: &VmHandle) -> mpsc::Receiver<StopReason> {
    let (sender, stops) = mpsc::channel();
    handle.on_stop(move |reason| {
        // A test that no longer listens has ended.
        let _ = sender.send(reason);
    });
    stops
}

/// Waits until the VM stops.
pub(crate) fn wait_stop(handle: &VmHandle) -> StopReason {
    stops(handle).recv_timeout(PATIENCE).unwrap()
}

/// Waits for what nothing signals.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// Runs `f`, which must come to an end.
pub(crate) fn bounded<T: Send>(what: &str, f: impl FnOnce() -> T + Send) -> T {
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || sender.send(f()));
        match done.recv_timeout(PATIENCE) {
            Ok(value) => value,
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what}: panicked"),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // The scope would wait for it for ever.
                eprintln!("{what}: does not end");
                std::process::abort();
            }
        }
    })
}

/// Random numbers that are the same in every run (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn word(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap()
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word()).unwrap() % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
