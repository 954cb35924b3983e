//! A host of the embedder's own, made of what this crate gives its users, and nothing of KVM.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use platform::{
    Activity, Config, Controller, Fate, GuestLink, HostError, InstanceHost, ParkMode, Parked, Platform,
    ServiceSetup, Started, Verdict,
};
use scheduler::{InstanceId, ServiceConfig, ServiceId};
use tokio::sync::oneshot;

/// Instances that are nothing but a thread for each connection, and are asleep when they are not in the set.
#[derive(Default)]
struct Threads {
    awake: Mutex<HashSet<InstanceId>>,
}

#[derive(Debug)]
struct Link;

impl GuestLink for Link {
    fn connect(&self) -> io::Result<UnixStream> {
        let (ours, mut theirs) = UnixStream::pair()?;
        std::thread::spawn(move || {
            while theirs.read(&mut [0; 4096])? > 0 {
                theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
            }
            Ok::<_, io::Error>(())
        });
        Ok(ours)
    }
}

impl Threads {
    fn awake(&self) -> MutexGuard<'_, HashSet<InstanceId>> {
        self.awake.lock().expect("nobody panics with it")
    }

    fn start(&self, what: &'static str, instance: InstanceId) -> Result<Started, HostError> {
        if !self.awake().insert(instance) {
            return Err(HostError {
                what,
                instance,
                fate: Fate::Lost,
                source: "it is awake".into(),
            });
        }
        // Such an instance does not die.
        let (_, died) = oneshot::channel();
        Ok(Started {
            link: Arc::new(Link),
            died,
            load: Duration::ZERO,
            restore: Duration::ZERO,
        })
    }
}

impl InstanceHost for Threads {
    fn restore(&self, instance: InstanceId) -> Result<Started, HostError> {
        self.start("restore", instance)
    }

    fn boot(&self, instance: InstanceId) -> Result<Started, HostError> {
        self.start("boot", instance)
    }

    fn park(&self, instance: InstanceId, _: ParkMode) -> Result<Parked, HostError> {
        self.awake().remove(&instance);
        Ok(Parked::Asleep {
            written_bytes: 0,
            saved_bytes: 7,
            midway: false,
        })
    }

    fn stop(&self, instance: InstanceId) {
        self.awake().remove(&instance);
    }

    fn give_up(&self, instance: InstanceId, _: Verdict) {
        self.stop(instance);
    }

    fn shut_down(&self) -> Result<usize, HostError> {
        self.awake().clear();
        Ok(0)
    }
}

#[tokio::test]
async fn a_platform_serves_instances_of_another_kind() {
    let mut config = Config::default();
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.cooldown_ms = 1;
    let platform = Platform::with_host(config, Arc::new(Threads::default()))
        .await
        .unwrap();
    let addr = platform.addr();
    for wake in 1..=3 {
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = std::net::TcpStream::connect(addr)?;
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
            let mut answer = [0; 43];
            client.read_exact(&mut answer)?;
            Ok::<_, io::Error>(answer.to_vec())
        });
        assert!(answer.await.unwrap().unwrap().ends_with(b"hello"));
        let mut status = platform.status();
        let asleep = status.wait_for(|now| now.activity == Activity::Asleep && now.parks == wake);
        assert_eq!(asleep.await.unwrap().saved_bytes, 7);
    }
    assert_eq!(platform.shut_down().await.unwrap().kept, 0);
}

#[tokio::test]
async fn a_controller_needs_no_platform() {
    let service = ServiceId(7);
    let config = ServiceConfig::default().validate().unwrap();
    let setup = ServiceSetup::new(service, config, Arc::new(Threads::default()));
    let controller = Controller::new(vec![setup]);
    let admitted = controller.admit(service).await.unwrap();
    admitted.link.connect().unwrap();
    drop(admitted);
    controller.shut_down().await;
}
