//! Times as plain numbers: `WallTime` for what clients see, `MonoTime` for deadlines. Neither reads a clock; the thread shells do.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub i64);

/// Microseconds since the process started; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(pub u64);

/// Both clocks at one moment, as the thread shells read them once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For times that clients see.
    pub wall: WallTime,
    /// For deadlines.
    pub mono: MonoTime,
}

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

impl WallTime {
    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// This time and `seconds` more; stays at the end of the range instead of wrapping.
    pub fn plus_seconds(self, seconds: i64) -> WallTime {
        WallTime(self.0.saturating_add(seconds.saturating_mul(SECOND)))
    }

    /// RFC 3339 in UTC with microseconds and `Z`: `2026-01-31T09:15:30.123456Z`. Years 0000 to 9999.
    pub fn rfc3339(self) -> [u8; 27] {
        let civil = Civil::of(self);
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut out[0..4], civil.year.clamp(0, 9999) as u32);
        digits(&mut out[5..7], civil.month);
        digits(&mut out[8..10], civil.day);
        digits(&mut out[11..13], civil.hour);
        digits(&mut out[14..16], civil.minute);
        digits(&mut out[17..19], civil.second);
        digits(&mut out[20..26], self.0.rem_euclid(SECOND) as u32);
        out
    }

    /// Parses the output of `rfc3339`, and nothing else.
    pub fn parse_rfc3339(text: &str) -> Option<WallTime> {
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
        let (hour, minute, second, micros) = (part(11, 13)?, part(14, 16)?, part(17, 19)?, part(20, 26)?);
        // Days since 0000-03-01 of the proleptic Gregorian calendar, in years that begin with March.
        let shifted_year = if month > 2 { year } else { year - 1 };
        let shifted_month = (month + 9) % 12;
        let leap_days = shifted_year.div_euclid(4) - shifted_year.div_euclid(100) + shifted_year.div_euclid(400);
        let days = 365 * shifted_year + leap_days + (153 * shifted_month + 2) / 5 + day - 1 - 719_468;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        // An invalid date, or another form, would be formatted differently.
        Some(WallTime(seconds * SECOND + micros)).filter(|time| time.rfc3339() == *text.as_bytes())
    }

    /// Parses a date of RFC 9110 §5.6.7 in any of its three forms. The name of the day is not checked.
    pub fn parse_http_date(text: &str) -> Option<WallTime> {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let words: Vec<&str> = text.split([' ', '-', ',']).filter(|word| !word.is_empty()).collect();
        let (day, month, year, time) = match words[..] {
            [_, day, month, year, time, "GMT"] => (day, month, year, time),
            [_, month, day, time, year] => (day, month, year, time),
            _ => return None,
        };
        let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
        let (day, year): (u32, u32) = (day.parse().ok()?, year.parse().ok()?);
        // RFC 850 has two digits of the year.
        let year = match year {
            0..70 => year + 2000,
            70..100 => year + 1900,
            _ => year,
        };
        WallTime::parse_rfc3339(&format!("{year:04}-{month:02}-{day:02}T{time}.000000Z"))
    }

    /// IMF-fixdate of RFC 9110 §5.6.7, for the `Date` field: `Sat, 31 Jan 2026 09:15:30 GMT`.
    pub fn imf_fixdate(self) -> [u8; 29] {
        const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
        const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let civil = Civil::of(self);
        let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        let weekday = self.seconds().div_euclid(86_400).rem_euclid(7) as usize;
        out[0..3].copy_from_slice(&DAYS[weekday * 3..weekday * 3 + 3]);
        digits(&mut out[5..7], civil.day);
        let month = (civil.month as usize - 1) * 3;
        out[8..11].copy_from_slice(&MONTHS[month..month + 3]);
        digits(&mut out[12..16], civil.year.clamp(0, 9999) as u32);
        digits(&mut out[17..19], civil.hour);
        digits(&mut out[20..22], civil.minute);
        digits(&mut out[23..25], civil.second);
        out
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.rfc3339()).expect("digits are ASCII"))
    }
}

impl MonoTime {
    /// This time and `milliseconds` more.
    pub fn plus_milliseconds(self, milliseconds: u64) -> MonoTime {
        MonoTime(self.0.saturating_add(milliseconds.saturating_mul(1000)))
    }

    /// This time and `microseconds` more.
    pub fn plus(self, microseconds: u64) -> MonoTime {
        MonoTime(self.0.saturating_add(microseconds))
    }

    /// Microseconds from `earlier` to this time; zero if it is later.
    pub fn since(self, earlier: MonoTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn digits(out: &mut [u8], mut number: u32) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// Days to a date of the proleptic Gregorian calendar, counted from 0000-03-01 in eras of 400 years.
    fn of(wall: WallTime) -> Civil {
        let seconds = wall.seconds();
        let days = seconds.div_euclid(86_400) + 719_468;
        let second_of_day = seconds.rem_euclid(86_400) as u32;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil {
            year,
            month,
            day,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_and_http_dates() {
        let table = [
            (0, "1970-01-01T00:00:00.000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777_000_000, "1994-11-06T08:49:37.000000Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_769_850_930_123_456, "2026-01-31T09:15:30.123456Z", "Sat, 31 Jan 2026 09:15:30 GMT"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z", "Sun, 28 Feb 2100 23:59:59 GMT"),
            (-1, "1969-12-31T23:59:59.999999Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
        ];
        for (micros, rfc3339, http) in table {
            assert_eq!(WallTime(micros).to_string(), rfc3339);
            assert_eq!(WallTime::parse_rfc3339(rfc3339), Some(WallTime(micros)));
            assert_eq!(std::str::from_utf8(&WallTime(micros).imf_fixdate()).unwrap(), http);
        }
    }

    #[test]
    fn times_that_are_none_are_not_read() {
        let mut random = crate::base::random::Random::new(9);
        for _ in 0..10_000 {
            let time = WallTime(random.below(253_402_300_800_000_000) as i64);
            assert_eq!(WallTime::parse_rfc3339(&time.to_string()), Some(time));
        }
        for bad in [
            "",
            "2026-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-01T00:00:00.000000Z",
            "2026-01-31T24:00:00.000000Z",
            "2026-01-31T09:15:30.123456",
            "2026-01-31T09:15:30.123456Z ",
            "2026-01-31T09:15:30.123Z",
            "2026-01-31 09:15:30.123456Z",
            "2026-01-31T09:15:30.+12345Z",
            "2026-01-31T09:15:30.123456+00:00",
            "é026-01-31T09:15:30.123456Z",
        ] {
            assert_eq!(WallTime::parse_rfc3339(bad), None, "{bad}");
        }
    }
}
