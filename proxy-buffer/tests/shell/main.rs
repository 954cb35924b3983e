//! The TCP shell on real sockets, before backends that only pretend to sleep.

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod failure;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod hold;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod park;
#[cfg(test)]
mod pipes;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod time;
#[cfg(test)]
mod world;
