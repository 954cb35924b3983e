//! One micro-VM on KVM: boot, pause, save, restore, and shells made ahead.
