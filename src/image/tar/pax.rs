//! PAX extended headers: `length key=value\n` records. Law: pure.
//!
//! Source: POSIX.1-2017 pax, "pax Extended Header"; `SCHILY.xattr.` as star, GNU tar, Go and docker write it;
//! `GNU.sparse.` from the GNU tar manual, "PAX Format, Versions 0.0 … 1.0".

use std::collections::BTreeMap;

use super::header::owner;
use super::sparse::{MAX_SEGMENTS, Segment};
use crate::image::tree::{Time, Xattrs};

/// An attribute takes this much beside its bytes.
const ATTRIBUTE: usize = 128;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) sparse: PaxSparse,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The three ways in which GNU tar describes sparse files by PAX records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offset, length, offset, … (0.0 as repeated records, 0.1 as one list).
    numbers: Vec<u64>,
}

impl PaxSparse {
    pub(super) fn segments(&self) -> Option<Vec<Segment>> {
        let (pairs, rest) = self.numbers.as_chunks::<2>();
        rest.is_empty().then(|| pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect())
    }

    fn push(&mut self, number: u64) -> Option<()> {
        (self.numbers.len() < 2 * MAX_SEGMENTS).then(|| self.numbers.push(number))
    }
}

impl Pax {
    /// Takes in the records of one header; `None` if they are malformed.
    pub(super) fn extend(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() && records[0] != 0 {
            let blank = records.iter().take(20).position(|&byte| byte == b' ')?;
            let length = usize::try_from(decimal(&records[..blank])?).ok()?;
            let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            self.set(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Some(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        // An empty value takes back what a global header said; an empty attribute is an attribute.
        let given = !value.is_empty();
        // No attribute has such a name; Go's reader takes no such key either.
        if key.contains(&0) {
            return None;
        }
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = if given { Some(decimal(value)?) } else { None },
            b"uid" => self.uid = if given { Some(owner_of(value)?) } else { None },
            b"gid" => self.gid = if given { Some(owner_of(value)?) } else { None },
            b"mtime" => self.mtime = if given { Some(time(value)?) } else { None },
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(decimal(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.push(decimal(value)?)?,
            b"GNU.sparse.map" if given => {
                for number in value.split(|&byte| byte == b',') {
                    self.sparse.push(decimal(number)?)?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Some(())
    }

    /// About what it takes, but for the numbers of a sparse map, which have a bound of their own.
    pub(super) fn memory_bytes(&self) -> u64 {
        let names = [&self.path, &self.link, &self.sparse.name].map(|name| name.as_ref().map_or(0, Vec::len));
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + ATTRIBUTE);
        names.into_iter().chain(xattrs).map(|length| length as u64).sum()
    }

    /// `other` has the last word.
    pub(super) fn overlay(&mut self, other: Self) {
        self.path = other.path.or(self.path.take());
        self.link = other.link.or(self.link.take());
        self.size = other.size.or(self.size);
        self.uid = other.uid.or(self.uid);
        self.gid = other.gid.or(self.gid);
        self.mtime = other.mtime.or(self.mtime);
        // A map is of one file, wherever it stands.
        self.sparse = other.sparse;
        self.xattrs.extend(other.xattrs);
    }

    pub(super) fn take_xattrs(&mut self) -> Xattrs {
        std::mem::take(&mut self.xattrs).into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn owner_of(text: &[u8]) -> Option<u32> {
    let (sign, digits) = text.strip_prefix(b"-").map_or((1, text), |digits| (-1, digits));
    owner(i64::try_from(decimal(digits)?).ok()? * sign)
}

/// Seconds with an optional fraction, possibly before 1970.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    let mut weight = 100_000_000;
    for &digit in parts.next().unwrap_or_default() {
        nanoseconds += u32::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?) * weight;
        weight /= 10;
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        // The fraction counts upwards from the earlier second.
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::{Pax, Time, time};

    #[test]
    fn records_are_counted_in_bytes() {
        let mut pax = Pax::default();
        pax.extend(b"12 path=a\nb\n11 uid=123\n").unwrap();
        assert_eq!((pax.path.as_deref(), pax.uid), (Some(&b"a\nb"[..]), Some(123)));
        pax.extend(b"10 uid=-2\n").unwrap();
        assert_eq!(pax.uid, Some(u32::MAX - 1));
        assert_eq!(pax.extend(b"10 gid=-1\n"), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [
            &b"5 a=b\n"[..],
            b"0 a=b\n",
            b"7 a=b\n",
            b"6 ab=\n7",
            b"99999999999999999999 a=b\n",
            b"6 abc\n",
            b"x a=b\n",
            b"2 \n",
            b"24 SCHILY.xattr.a\0b=cdef\n",
        ] {
            assert_eq!(Pax::default().extend(records), None, "{}", records.escape_ascii());
        }
    }

    #[test]
    fn times_before_1970_count_their_fraction_upwards() {
        assert_eq!(time(b"1.5"), Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"1.0000000009"), Some(Time { seconds: 1, nanoseconds: 0 }));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }
}
