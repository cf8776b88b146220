//! Sizes and times as people type them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `512M`, `4G`, `1.5g`, `64MiB`; a bare number is bytes, as with docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A time: `90`, `90s`, `10m`, `2h`, `500ms`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

/// What was typed is no quantity; says what would be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("a size is a number with K, M, G or T behind it, such as 512M or 4G")]
    Size,
    #[error("a time is a number with ms, s, m or h behind it, such as 90s or 10m")]
    Time,
    #[error("that is too much")]
    Overflow,
}

/// The number and the unit behind it, in lower case.
fn split(text: &str) -> Option<(f64, String)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    Some((number, unit.trim().to_ascii_lowercase()))
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) = split(text.trim()).ok_or(QuantityError::Size)?;
        let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            _ => return Err(QuantityError::Size),
        };
        let bytes = number * f64::from(1u32 << 10).powi(power);
        // 2^60: what is beyond is a slip of the finger, and below it the conversion is exact enough.
        if bytes >= (1u64 << 60) as f64 {
            return Err(QuantityError::Overflow);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2^60; a fraction of a byte is no byte"
        )]
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, letter)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Seconds {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) = split(text.trim()).ok_or(QuantityError::Time)?;
        let seconds = match unit.as_str() {
            "ms" => number / 1000.0,
            "" | "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(QuantityError::Time),
        };
        let time = Duration::try_from_secs_f64(seconds).map_err(|_| QuantityError::Overflow)?;
        // A century: timers further away than that overflow some clocks.
        if time > Duration::from_secs(100 * 366 * 86400) { Err(QuantityError::Overflow) } else { Ok(Self(time)) }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let cases = [
            ("512M", 512 << 20),
            ("4G", 4 << 30),
            ("4g", 4 << 30),
            ("64MiB", 64 << 20),
            ("1.5k", 1536),
            ("17", 17),
            ("2TB", 2 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "M", "-1G", "1X", "1.2.3G", "G1", "nan", "inf"] {
            assert_eq!(text.parse::<Bytes>(), Err(QuantityError::Size), "{text}");
        }
        assert_eq!("9999999T".parse::<Bytes>(), Err(QuantityError::Overflow));
    }

    #[test]
    fn times_have_seconds_by_default() {
        let cases = [("90", 90_000), ("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000), ("500ms", 500), ("0.5", 500)];
        for (text, millis) in cases {
            assert_eq!(text.parse(), Ok(Seconds(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "s", "-1", "1d"] {
            assert_eq!(text.parse::<Seconds>(), Err(QuantityError::Time), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_as_it_would_be_typed() {
        for text in ["1G", "512M", "20G", "1023", "3T"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
    }
}
