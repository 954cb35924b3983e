//! The device status field as a state machine (virtio 1.2, sections 2.1 and 3.1.1).

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE as ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER as DRIVER,
    VIRTIO_CONFIG_S_DRIVER_OK as DRIVER_OK, VIRTIO_CONFIG_S_FAILED as FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK as FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET as NEEDS_RESET,
};

/// How far a driver has come with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum DeviceStatus {
    /// No driver; every register is at its default.
    Reset,
    /// A guest has seen the device.
    Acknowledged,
    /// A driver is reading and taking features.
    Driver,
    /// Features are agreed; the driver sets the queues up.
    FeaturesOk,
    /// The device works.
    Running,
    /// A queue was broken by its driver: the device stands still until it is reset.
    NeedsReset,
    /// The driver gave up.
    Failed,
}

impl DeviceStatus {
    /// The value of the `Status` register.
    pub(crate) fn bits(self) -> u32 {
        match self {
            DeviceStatus::Reset => 0,
            DeviceStatus::Acknowledged => ACKNOWLEDGE,
            DeviceStatus::Driver => ACKNOWLEDGE | DRIVER,
            DeviceStatus::FeaturesOk => ACKNOWLEDGE | DRIVER | FEATURES_OK,
            DeviceStatus::Running => ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
            DeviceStatus::NeedsReset => ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET,
            DeviceStatus::Failed => FAILED,
        }
    }

    /// The state a write of `bits` asks for, or `None` for a write that is not allowed here: the field stays as it is.
    ///
    /// A driver may set its first two bits at once; the later steps depend on our answer and come one by one.
    pub(crate) fn requested(self, bits: u32) -> Option<DeviceStatus> {
        use DeviceStatus::{Acknowledged, Driver, Failed, FeaturesOk, Reset, Running};
        if bits == 0 {
            return Some(Reset);
        }
        if bits & FAILED != 0 {
            return Some(Failed);
        }
        [
            (Reset, Acknowledged),
            (Reset, Driver),
            (Acknowledged, Driver),
            (Driver, FeaturesOk),
            (FeaturesOk, Running),
        ]
        .into_iter()
        .find(|&(from, to)| from == self && to.bits() == bits)
        .map(|(_, to)| to)
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceStatus::{Acknowledged, Driver, Failed, FeaturesOk, NeedsReset, Reset, Running};

    #[test]
    fn a_driver_climbs_step_by_step() {
        assert_eq!(Reset.requested(1), Some(Acknowledged));
        assert_eq!(Acknowledged.requested(3), Some(Driver));
        assert_eq!(Reset.requested(3), Some(Driver));
        assert_eq!(Driver.requested(11), Some(FeaturesOk));
        assert_eq!(FeaturesOk.requested(15), Some(Running));
    }

    #[test]
    fn steps_cannot_be_left_out_or_taken_back() {
        assert_eq!(Driver.requested(15), None);
        assert_eq!(Driver.requested(7), None);
        assert_eq!(Reset.requested(11), None);
        assert_eq!(Running.requested(11), None);
        assert_eq!(Driver.requested(0x83), Some(Failed));
        assert_eq!(Reset.requested(0x100), None);
    }

    #[test]
    fn only_a_reset_leaves_a_broken_or_failed_device() {
        for state in [NeedsReset, Failed] {
            assert!((1..0x80).all(|bits| state.requested(bits).is_none()));
            assert_eq!(state.requested(0), Some(Reset));
        }
    }
}
