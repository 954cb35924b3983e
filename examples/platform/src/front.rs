//! Between proxy and controller: what wakes a service, how its guest is reached, and who is told.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use proxy_buffer::{
    ActivateError, Activator, Backend, Epoch, Observer, ParkPermit, TargetHandle, TargetState,
};
use scheduler::ServiceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tracing::warn;

use crate::controller::{ClosedGate, Controller, ControllerError, ParkGate};
use crate::host::GuestLink;
use crate::wake_clock::WakeClock;

/// The clocks of all services; shared by everything that a wake passes through.
pub(crate) type Clocks = Arc<HashMap<ServiceId, Arc<WakeClock>>>;

/// Wakes services through the controller.
pub(crate) struct ServiceActivator {
    pub(crate) controller: Arc<Controller>,
    pub(crate) clocks: Clocks,
}

impl Activator for ServiceActivator {
    type Key = ServiceId;
    type Backend = Guest;

    async fn activate(&self, service: &ServiceId) -> Result<Guest, ActivateError> {
        // The admission ends here: while exchanges are under way, `busy` speaks for all of them.
        match self.controller.admit(*service).await {
            Ok(admitted) => {
                let clock = self.clocks.get(service).map(Arc::clone);
                Ok(Guest {
                    link: Arc::clone(&admitted.link),
                    clock,
                })
            }
            Err(error) => {
                let refused = ActivateError::new(error.to_string());
                Err(match error {
                    ControllerError::Shed { retry_after, .. } => refused.with_retry_after(retry_after),
                    ControllerError::Ending => refused,
                })
            }
        }
    }
}

/// A running instance as the proxy reaches it.
#[derive(Clone)]
pub(crate) struct Guest {
    link: Arc<dyn GuestLink>,
    clock: Option<Arc<WakeClock>>,
}

impl Backend for Guest {
    type Stream = GuestStream;

    async fn connect(&self) -> io::Result<GuestStream> {
        let stream = self.link.connect()?;
        stream.set_nonblocking(true)?;
        Ok(GuestStream {
            stream: UnixStream::from_std(stream)?,
            clock: self.clock.clone(),
        })
    }
}

/// A connection to a guest that tells the clock when the guest answers.
pub(crate) struct GuestStream {
    stream: UnixStream,
    clock: Option<Arc<WakeClock>>,
}

impl AsyncRead for GuestStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(clock) = &self.clock
        {
            clock.answered();
        }
        polled
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Tells the controller when services are busy and quiet, and the clocks when something is held.
pub(crate) struct ServiceObserver {
    pub(crate) controller: Arc<Controller>,
    pub(crate) clocks: Clocks,
}

impl Observer<ServiceId> for ServiceObserver {
    fn held(&self, service: &ServiceId) {
        if let Some(clock) = self.clocks.get(service) {
            clock.held();
        }
    }

    fn activation_cancelled(&self, service: &ServiceId, _: Epoch, _: Duration) {
        if let Some(clock) = self.clocks.get(service) {
            clock.gave_up();
        }
    }

    fn park_aborted(&self, service: &ServiceId) {
        if let Some(clock) = self.clocks.get(service) {
            clock.gave_up();
        }
    }

    fn accept_failed(&self, service: &ServiceId, error: &io::Error) {
        // The proxy pauses after each, so this cannot flood.
        warn!(service = service.0, %error, "cannot accept a connection; if descriptors have run out, raise `ulimit -n`");
    }

    fn busy(&self, service: &ServiceId, _: Instant) {
        self.controller.busy(*service);
    }

    fn quiet(&self, service: &ServiceId, _: Instant, _: Duration) {
        self.controller.quiet(*service);
    }
}

/// A target of the proxy as the gate that the controller closes.
pub(crate) struct TargetGate(pub(crate) TargetHandle<ServiceActivator>);

impl ParkGate for TargetGate {
    fn close(&self, quiet_for: Duration) -> Result<Box<dyn ClosedGate>, Duration> {
        match self.0.try_park(quiet_for) {
            Ok(permit) => Ok(Box::new(Closed(permit))),
            // Everybody left while the instance woke: the gate never opened for it, and asks before it does.
            Err(busy) if busy.state == TargetState::Asleep => Ok(Box::new(NeverOpened)),
            Err(busy) => Err(busy.last_activity_age),
        }
    }

    fn lost(&self, reason: &str) {
        self.0.backend_lost(reason);
    }
}

struct Closed(ParkPermit<ServiceActivator>);

impl ClosedGate for Closed {
    fn asleep(self: Box<Self>) {
        self.0.parked();
    }
}

struct NeverOpened;

impl ClosedGate for NeverOpened {
    fn asleep(self: Box<Self>) {}
}
