use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A service: what requests ask for. Chosen by the owner.
    ServiceId
}
id! {
    /// One VM serving a service. Chosen by the scheduler, never used twice; a parked instance keeps it.
    InstanceId
}
id! {
    /// A request of one service, from its arrival to its end. Chosen by the owner, never used twice in a service.
    RequestId
}
id! {
    /// A connection to one instance. Chosen by the owner, unique among the open ones of that instance.
    ConnectionId
}
id! {
    /// A host that runs instances. Chosen by the owner; node 0 is there from the beginning.
    NodeId
}
id! {
    /// Whose services they are. Chosen by the owner; 0 unless configured otherwise.
    TenantId
}
id! {
    /// The number of an action, from 1, in the order in which actions were decided.
    ActionId
}
id! {
    /// Counts the lifecycle commands given to one instance: each `Start`, `Park` and `Stop` has the next one.
    ///
    /// The answer to a command echoes its epoch. A command or an answer whose epoch is not newer than what was seen
    /// is a duplicate and changes nothing.
    Epoch
}

impl Epoch {
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether commands may follow it for as long as anybody gives any.
    pub(crate) fn can_go_on(self) -> bool {
        self.0 <= u64::MAX / 2
    }
}
