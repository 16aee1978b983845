//! Points in time, as annotation tools write them.

/// Longest text that is parsed, in bytes. Tools write up to 35.
const MAX_TEXT_BYTES: usize = 48;

/// Days from the start of year 1 to the start of 1970.
const DAYS_BEFORE_1970: i64 = 719_162;

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// Point in time, in nanoseconds since the start of 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Timestamp(i128);

impl Timestamp {
    /// Parses the extended forms of ISO 8601, such as `2026-01-02T03:04:05.123456Z`. The `T` may be
    /// a space, and seconds, fraction and zone may be missing, as may the whole time. A time
    /// without a zone is UTC: Ground Truth writes none. `None` if the text is no date.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let (date, rest) = text.split_at_checked(10)?;
        let days = parse_date(date)?;
        let nanoseconds = if rest.is_empty() { 0 } else { parse_time_and_zone(rest)? };
        let midnight = i128::from(days * 86_400) * NANOSECONDS_PER_SECOND;
        Some(Self(midnight + nanoseconds))
    }
}

/// Parses `2026-01-02` and returns the days since the start of 1970.
fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || month.len() != 2 || day.len() != 2 || parts.next().is_some() {
        return None;
    }
    let year = parse_number(year, 9999)?;
    let month = parse_number(month, 12)?;
    let day = parse_number(day, 31)?;
    if year == 0 || month == 0 || day == 0 {
        return None;
    }
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap_year { 29 } else { 28 };
    let month_lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut days_before_month = 0;
    for (length, number) in month_lengths.into_iter().zip(1..) {
        if number == month {
            if day > length {
                return None;
            }
            break;
        }
        days_before_month += length;
    }
    let full_years = year - 1;
    let leap_days = full_years / 4 - full_years / 100 + full_years / 400;
    Some(full_years * 365 + leap_days + days_before_month + day - 1 - DAYS_BEFORE_1970)
}

/// Parses what follows a date, such as `T03:04:05.5+02:00`, and returns the nanoseconds in UTC
/// since the date's midnight.
fn parse_time_and_zone(text: &str) -> Option<i128> {
    let time_and_zone = text.strip_prefix(['T', 't', ' '])?.trim_start();
    if let Some(time) = strip_utc(time_and_zone) {
        return parse_time(time.trim_end());
    }
    let Some(sign_index) = time_and_zone.rfind(['+', '-']) else {
        return parse_time(time_and_zone);
    };
    let (time, zone) = time_and_zone.split_at_checked(sign_index)?;
    let offset = i128::from(parse_zone(zone)?) * NANOSECONDS_PER_SECOND;
    Some(parse_time(time.trim_end())? - offset)
}

/// Removes the names of UTC from the end of a time; `None` if there is none.
fn strip_utc(text: &str) -> Option<&str> {
    text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC"))
}

/// Parses `03:04`, `03:04:05` or `03:04:05.123456` and returns the nanoseconds since midnight.
fn parse_time(text: &str) -> Option<i128> {
    let (clock, fraction) = match text.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let mut parts = clock.split(':');
    let hours = parse_number(parts.next()?, 23)?;
    let minutes = parse_number(parts.next()?, 59)?;
    // 60 is a leap second.
    let seconds = match parts.next() {
        Some(seconds) => parse_number(seconds, 60)?,
        None => 0,
    };
    if parts.next().is_some() {
        return None;
    }
    let mut nanoseconds =
        i128::from(hours * 3600 + minutes * 60 + seconds) * NANOSECONDS_PER_SECOND;
    if let Some(fraction) = fraction {
        nanoseconds += parse_fraction(fraction)?;
    }
    Some(nanoseconds)
}

/// Parses the digits of a fraction of a second and returns nanoseconds; further digits are cut off.
fn parse_fraction(digits: &str) -> Option<i128> {
    if digits.is_empty() {
        return None;
    }
    let mut nanoseconds = 0;
    let mut digit_value = NANOSECONDS_PER_SECOND / 10;
    for digit in digits.chars() {
        nanoseconds += i128::from(digit.to_digit(10)?) * digit_value;
        digit_value /= 10;
    }
    Some(nanoseconds)
}

/// Parses `+02:00`, `+0200` or `+02` and returns seconds east of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text.get(1..)?.split_at_checked(2)?;
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let minutes = if minutes.is_empty() { 0 } else { parse_number(minutes, 59)? };
    Some(sign * (parse_number(hours, 23)? * 3600 + minutes * 60))
}

/// Parses one to four digits as a number up to `largest`.
fn parse_number(text: &str, largest: i64) -> Option<i64> {
    if text.is_empty() || text.len() > 4 || !text.as_bytes().iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.parse().ok()?;
    if number <= largest { Some(number) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_moment_are_equal() {
        let moment = Timestamp::parse("2026-01-02T03:04:05.123456Z").unwrap();
        for form in [
            "2026-01-02T03:04:05.123456",
            "2026-01-02T03:04:05.123456+00:00",
            "2026-01-02 03:04:05.123456",
            "2026-01-02 03:04:05.123456000 UTC",
            "2026-01-02T05:34:05.123456+02:30",
            "2026-01-01t22:04:05.123456-0500",
            " 2026-01-02 04:04:05,123456 +01 ",
        ] {
            assert_eq!(Timestamp::parse(form), Some(moment), "{form}");
        }
        assert_eq!(Timestamp::parse("1970-01-01"), Some(Timestamp(0)));
        let after_leap_day = Timestamp::parse("2024-03-01T00:00Z").unwrap();
        assert_eq!(after_leap_day, Timestamp(1_709_251_200 * NANOSECONDS_PER_SECOND));
    }

    #[test]
    fn a_later_moment_is_larger_whatever_its_form() {
        let ascending = [
            "1999-12-31T23:59:60",
            "2026-01-02T03:04:05+10:00",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05.1",
            "2026-01-02T03:04:05.100001Z",
            "2026-01-02T03:04:06Z",
            "2026-01-02T03:04:06-00:01",
            "2026-01-03",
        ];
        let moments: Vec<Timestamp> = ascending.map(|text| Timestamp::parse(text).unwrap()).into();
        assert!(moments.is_sorted_by(|one, next| one < next), "{moments:?}");
    }

    #[test]
    fn texts_that_are_no_dates_are_none() {
        for text in [
            "",
            "yesterday",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-02T",
            "2026-01-02T25:00",
            "2026-01-02T03:04:05.",
            "2026-01-02T03:04:05+x",
            "2026-01-02X03:04:05",
            "26-01-02T03:04:05",
            "２026-01-02",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_moment_or_none(text in "\\PC{0,60}", date in "[-0-9TZ:.+ ]{0,40}") {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::parse(&date);
            let _ = Timestamp::parse(&format!("2026-01-02{text}"));
        }

        #[test]
        fn a_zone_moves_the_clock_and_not_the_moment(
            hour in 0..24_i64, minute in 0..60_i64, day in 1..28_i64, zone in -14..15_i64,
        ) {
            let utc = Timestamp::parse(&format!("2026-05-{day:02}T{hour:02}:{minute:02}:00Z"));
            let sign = if zone < 0 { '-' } else { '+' };
            let zoned = format!("2026-05-{day:02} {hour:02}:{minute:02}:00{sign}{:02}:00", zone.abs());
            let (utc, zoned) = (utc.unwrap(), Timestamp::parse(&zoned).unwrap());
            let hours = i128::from(zone) * 3600 * NANOSECONDS_PER_SECOND;
            proptest::prop_assert_eq!(utc.0 - hours, zoned.0);
        }
    }
}
