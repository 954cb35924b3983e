//! What was learned, as bytes: a header, the services by id, a checksum.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ids::ServiceId;
use crate::policy::RestoreError;
use crate::policy::gaps::{BINS, Gaps};
use crate::policy::learned::codec::{Reader, Writer, checksum};
use crate::policy::learned::hedge::Hedge;
use crate::policy::learned::learner::{Learner, MOST_OPEN};
use crate::policy::learned::level::{Level, group_of};
use crate::policy::measured::{Measured, Quantiles};
use crate::policy::periodic::{BEATS, Beat, Periodic, Window};
use crate::policy::slopes::{Bins, MOST, NEVER};
use crate::registry::Registry;

const MAGIC: [u8; 8] = *b"schedski";
const VERSION: u16 = 1;
const HEADER_LEN: usize = MAGIC.len() + 2;
const CHECKSUM_LEN: usize = 8;
/// The last moment in microseconds that a [`Timestamp`](crate::Timestamp) can tell.
const LAST_US: u64 = u64::MAX / 1_000;
/// The same of what is expected after one of those.
const LAST_EXPECTED_US: u64 = 2 * LAST_US;

pub(crate) fn save(learners: &Registry<Learner>, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    let mut w = Writer(out);
    w.u16(VERSION);
    for (service, learner) in learners.iter() {
        w.u64(service.0);
        save_learner(&mut w, learner);
    }
    let sum = checksum(&out[begin..]);
    Writer(out).u64(sum);
}

pub(crate) fn restore(bytes: &[u8]) -> Result<Registry<Learner>, RestoreError> {
    let mut header = Reader::new(bytes);
    if header.array() != Ok(MAGIC) {
        return Err(RestoreError::Foreign);
    }
    let version = header.u16()?;
    if version != VERSION {
        return Err(RestoreError::Version { version });
    }
    let short = RestoreError::Truncated { at: bytes.len() };
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(short)?;
    if body.len() < HEADER_LEN {
        return Err(short);
    }
    let mut r = Reader::new(body);
    r.array::<HEADER_LEN>()?;
    let (mut learners, mut last) = (Registry::default(), None);
    while r.left() > 0 {
        let service = ServiceId(r.u64()?);
        r.require(last < Some(service), "the order of services")?;
        last = Some(service);
        let learner = restore_learner(&mut r)?;
        learners.get_or_insert(service, |_| learner);
    }
    r.require(checksum(body) == u64::from_le_bytes(*sum), "the checksum")?;
    Ok(learners)
}

fn save_learner(w: &mut Writer<'_>, learner: &Learner) {
    w.u32(learner.priced);
    w.u64(learner.called_us);
    w.u8(learner.rest);
    w.count(learner.levels.len());
    for level in &learner.levels {
        w.u8(level.group);
        w.u32(level.wait);
        w.u16(level.waits);
        w.u16(level.stale);
        level.bins.iter().for_each(|bin| w.u8(*bin));
        w.count(level.gaps.counts().count());
        for (bin, count) in level.gaps.counts() {
            w.count(bin);
            w.u16(count);
        }
    }
    w.count(learner.open.len());
    learner.open.iter().for_each(|since_us| w.u64(*since_us));
    save_bins(w, learner.first);
    let Hedge {
        realised_us,
        envelope_us,
        offline_us,
    } = learner.hedge;
    [realised_us, envelope_us, offline_us]
        .into_iter()
        .for_each(|sum| w.u64(sum));
    w.count(learner.measured.list().len());
    for quantiles in learner.measured.list() {
        w.u8(quantiles.kind);
        w.u32(quantiles.p50_us);
        w.u32(quantiles.p95_us);
        w.u8(quantiles.seen);
    }
    w.u8(u8::from(learner.periodic.is_some()));
    if let Some(periodic) = &learner.periodic {
        save_periodic(w, periodic);
    }
}

fn restore_learner(r: &mut Reader<'_>) -> Result<Learner, RestoreError> {
    let mut learner = Learner {
        priced: r.u32()?,
        called_us: r.u64()?,
        rest: r.u8()?,
        ..Learner::default()
    };
    r.require(learner.called_us <= LAST_US, "the time of a call")?;
    let mut levels: Vec<Level> = Vec::new();
    for _ in 0..r.u8()? {
        let level = restore_level(r)?;
        let in_order = levels.last().is_none_or(|last| last.group < level.group);
        r.require(in_order, "the order of levels")?;
        levels.push(level);
    }
    learner.levels = levels.into_boxed_slice();
    let open = usize::from(r.u8()?);
    r.require(open <= MOST_OPEN, "the number of open gaps")?;
    for _ in 0..open {
        let since_us = r.u64()?;
        let in_order = learner.open.last().is_none_or(|last| *last <= since_us);
        r.require(in_order && since_us <= LAST_US, "the beginning of an open gap")?;
        learner.open.push(since_us);
    }
    learner.first = restore_bins(r)?;
    learner.hedge = Hedge {
        realised_us: r.u64()?,
        envelope_us: r.u64()?,
        offline_us: r.u64()?,
    };
    let mut measured = Vec::new();
    for _ in 0..r.u8()? {
        measured.push(Quantiles {
            kind: r.u8()?,
            p50_us: r.u32()?,
            p95_us: r.u32()?,
            seen: r.u8()?,
        });
    }
    learner.measured = r.sound(Measured::from_list(measured), "a measured cost")?;
    let has_periodic = r.u8()?;
    r.require(has_periodic <= 1, "whether there is a period")?;
    if has_periodic == 1 {
        learner.periodic = Some(Box::new(restore_periodic(r)?));
    }
    Ok(learner)
}

fn save_bins(w: &mut Writer<'_>, bins: Option<Bins>) {
    w.u8(u8::from(bins.is_some()));
    bins.iter().flatten().for_each(|bin| w.u8(*bin));
}

fn restore_bins(r: &mut Reader<'_>) -> Result<Option<Bins>, RestoreError> {
    let there = r.u8()?;
    r.require(there <= 1, "whether somebody was expected")?;
    if there == 0 {
        return Ok(None);
    }
    let bins = r.array::<MOST>()?;
    let in_range = |bin: &u8| usize::from(*bin) < BINS || *bin == NEVER;
    r.require(bins.iter().all(in_range), "when to go deeper")?;
    Ok(Some(bins))
}

fn restore_level(r: &mut Reader<'_>) -> Result<Level, RestoreError> {
    let mut level = Level::new(r.u8()?);
    r.require(
        (1..=group_of(u32::MAX)).contains(&level.group),
        "the group of a level",
    )?;
    level.wait = r.u32()?;
    level.waits = r.u16()?;
    r.require(
        level.wait <= Level::MOST_WAIT && level.waits <= Level::MOST_WAITS,
        "a mean wait",
    )?;
    level.stale = r.u16()?;
    level.bins = r.array::<MOST>()?;
    let in_range = |bin: &u8| usize::from(*bin) < BINS || *bin == NEVER;
    r.require(level.bins.iter().all(in_range), "when to go deeper")?;
    let mut counts = Vec::new();
    for _ in 0..r.u8()? {
        counts.push((r.u8()?, r.u16()?));
    }
    level.gaps = r.sound(Gaps::from_counts(counts.into_iter()), "a count of gaps")?;
    Ok(level)
}

fn save_periodic(w: &mut Writer<'_>, periodic: &Periodic) {
    w.u64(periodic.called_us);
    w.u64(periodic.beat_us);
    for beat in &periodic.beats {
        w.u32(beat.after);
        w.u32(beat.spread_us);
        w.u8(beat.count);
    }
    w.u8(periodic.others);
    w.u8(periodic.misses);
    w.u8(periodic.hits);
    w.u32(periodic.earned_us);
    w.u16(periodic.judged);
    w.u16(periodic.met);
    for window in [periodic.window, periodic.next] {
        w.u8(window.map_or(0, |window| 1 + u8::from(window.active)));
        if let Some(window) = window {
            w.u64(window.from_us);
            w.u32(window.hold_us);
        }
    }
}

fn restore_periodic(r: &mut Reader<'_>) -> Result<Periodic, RestoreError> {
    let mut periodic = Periodic {
        called_us: r.u64()?,
        beat_us: r.u64()?,
        ..Periodic::default()
    };
    let moments = periodic.called_us.max(periodic.beat_us);
    r.require(moments <= LAST_EXPECTED_US, "the time of a call")?;
    for index in 0..BEATS {
        let beat = Beat {
            after: r.u32()?,
            spread_us: r.u32()?,
            count: r.u8()?,
        };
        r.require(beat.count <= Periodic::MOST_SEEN, "a count of intervals")?;
        periodic.beats[index] = beat;
    }
    periodic.others = r.u8()?;
    r.require(periodic.others <= Periodic::MOST_SEEN, "a count of intervals")?;
    periodic.misses = r.u8()?;
    periodic.hits = r.u8()?;
    periodic.earned_us = r.u32()?;
    periodic.judged = r.u16()?;
    periodic.met = r.u16()?;
    let judged = periodic.met <= periodic.judged && periodic.judged < Periodic::MOST_JUDGED;
    r.require(judged, "a count of expected calls")?;
    periodic.window = restore_window(r)?;
    periodic.next = restore_window(r)?;
    Ok(periodic)
}

fn restore_window(r: &mut Reader<'_>) -> Result<Option<Window>, RestoreError> {
    let kind = r.u8()?;
    r.require(kind <= 2, "whether somebody is expected")?;
    if kind == 0 {
        return Ok(None);
    }
    let window = Window {
        from_us: r.u64()?,
        hold_us: r.u32()?,
        active: kind == 2,
    };
    r.require(window.from_us <= LAST_EXPECTED_US, "when somebody is expected")?;
    Ok(Some(window))
}
