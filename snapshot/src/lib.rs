//! Snapshots of any guest memory and state sections: atomic, checked, mapped in place.
