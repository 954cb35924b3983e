//! From the entry to the loop that serves.

use alloc::boxed::Box;
use core::fmt::Write;
use core::panic::PanicInfo;

use guest_kernel::{BootInfo, Entry};
use linked_list_allocator::LockedHeap;

use crate::app::Application;
use crate::machine::{
    Apic, BootTimer, Clock, Identity, Line, Phase, idle, image_end, print, stop, take_pending,
};
use crate::net::Net;
use crate::server::Server;

#[global_allocator]
#[unsafe(link_section = ".hot.heap")]
static HEAP: LockedHeap = LockedHeap::empty();

/// Ring 3's first function. `boot_info` is the address of `boot_params` (`entry` 0) or `hvm_start_info` (1).
pub(crate) extern "C" fn start(entry: u64, boot_info: u64, entry_tsc: u64) -> ! {
    let entry = if entry == 0 { Entry::Linux64 } else { Entry::Pvh };
    let image_end = image_end();
    let image_end_gpa = u64::try_from(image_end).unwrap_or(u64::MAX);
    let info = match BootInfo::read(entry, boot_info, image_end_gpa, &Identity) {
        Ok(info) => info,
        Err(error) => fail(format_args!("{error}")),
    };
    let mut timer = BootTimer::new(&info.command_line, entry_tsc);
    let heap_len = usize::try_from(info.ram_end - image_end_gpa).unwrap_or(0);
    let heap_start = core::ptr::with_exposed_provenance_mut(image_end);
    // SAFETY: the memory map says that all of this is RAM, in one piece with the image, and `ring0.s` has it mapped.
    // Nothing else is there: statics and stack are before the image's end, what the loader left and is still read is
    // below the image (`Identity` gives nothing else), and the registers are above all RAM (`Window`). It is the heap's
    // for ever, and this is the only call.
    unsafe { HEAP.lock().init(heap_start, heap_len) };
    timer.mark(Phase::Application);
    let resume_mark = info.command_line.has("resume_mark");
    let mut state = prepare(&info, timer, heap_len);
    serve(&mut state, resume_mark)
}

/// All that lives as long as the VM; on the heap, beside the connections, so that the stack keeps to one page.
struct State {
    server: Server,
    net: Net,
}

/// Starts the devices and the server.
#[cold]
#[inline(never)]
fn prepare(info: &BootInfo<'static>, mut timer: BootTimer, heap_len: usize) -> Box<State> {
    let command_line = &info.command_line;
    let apic = Apic::new();
    let mut net = match Net::find(command_line) {
        Ok(net) => net,
        Err(error) => fail(format_args!("{error}")),
    };
    if let Some(pin) = net.pin() {
        apic.route(pin, Line::Net);
    }
    timer.mark(Phase::Network);

    let clock = Clock::new(command_line);
    if let Some(pin) = command_line
        .windows("vmm.generation")
        .next()
        .and_then(|window| window.pin)
        && command_line.has("resume_mark")
    {
        // Without the mark, the next request is early enough to learn of a restore.
        apic.route(pin, Line::Generation);
    }
    let app = Application::new(info, timer, clock);
    let server = Server::new(app, &mut net, apic, heap_len);
    let mut state = Box::new(State { server, net });
    // The first connection's memory, beside the state and before it is needed.
    state.server.prepare();
    state.server.app_mut().mark(Phase::Serving);
    if !command_line.has("quiet") {
        // The serial line takes everything.
        let _ = print().write_str("serving on port 80\n");
    }
    state
}

/// The loop that a wake goes through once or twice.
#[inline(never)]
fn serve(state: &mut State, resume_mark: bool) -> ! {
    let State { server, net } = state;
    loop {
        if server.app_mut().resumed(resume_mark) {
            server.reseed();
        }
        server.run(net);
        if take_pending(Line::Net) {
            net.acknowledge();
            continue;
        }
        take_pending(Line::Generation);
        if server.may_sleep(net, take_pending(Line::Timer)) {
            idle();
        }
    }
}

/// Says why, and stops the VM.
#[cold]
fn fail(reason: core::fmt::Arguments<'_>) -> ! {
    let _ = writeln!(print(), "guest: {reason}");
    stop()
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("{info}"))
}
