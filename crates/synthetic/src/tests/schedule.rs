//! Start times: their order, their bounds, and the curve they follow.

use super::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday, even_start_times, instant, monday, start_times};

/// Ranges of a month, a week, part of an hour, and bounds between milliseconds.
fn ranges() -> [(DateTime<Utc>, DateTime<Utc>); 4] {
    [
        (monday(), monday() + TimeDelta::days(30)),
        (monday(), monday() + TimeDelta::days(7)),
        (instant("2026-01-12T03:10:20Z"), instant("2026-01-12T03:10:21Z")),
        (instant("2026-01-12T03:10:20.0001Z"), instant("2026-01-12T03:10:20.0011Z")),
    ]
}

#[test]
fn starts_are_ascending_whole_milliseconds_within_the_range() {
    for (from, to) in ranges() {
        for times in [start_times(1, from, to, 5000), even_start_times(from, to, 5000)] {
            assert_eq!(times.len(), 5000);
            assert!(times.is_sorted());
            assert!(times.iter().all(|time| (from..to).contains(time)));
            assert!(times.iter().all(|time| time.timestamp_subsec_nanos() % 1_000_000 == 0));
        }
    }
}

#[test]
fn an_empty_range_has_no_starts() {
    let (from, to) = (instant("2026-01-12T00:00:00.0001Z"), instant("2026-01-12T00:00:00.001Z"));
    for (from, to) in [(monday(), monday()), (monday() + TimeDelta::days(1), monday()), (from, to)] {
        assert!(start_times(1, from, to, 10).is_empty());
        assert!(even_start_times(from, to, 10).is_empty());
    }
}

#[test]
fn starts_follow_the_seed() {
    let to = monday() + TimeDelta::days(7);
    assert_eq!(start_times(1, monday(), to, 100), start_times(1, monday(), to, 100));
    assert_ne!(start_times(1, monday(), to, 100), start_times(2, monday(), to, 100));
}

#[test]
fn days_are_busy_nights_quiet_and_weekends_quieter() {
    let times = start_times(1, monday(), monday() + TimeDelta::days(28), 50_000);
    let per_hour = |hours: std::ops::Range<u32>| {
        let width = hours.len();
        times.iter().filter(|time| hours.contains(&time.hour())).count() / width
    };
    assert!(per_hour(9..18) > 10 * per_hour(0..6));
    let on = |day: Weekday| times.iter().filter(|time| time.weekday() == day).count();
    for day in [Weekday::Mon, Weekday::Wed, Weekday::Fri] {
        assert!(on(day) > 2 * on(Weekday::Sat).max(on(Weekday::Sun)));
    }
}

#[test]
fn even_starts_are_evenly_apart() {
    let times = even_start_times(monday(), monday() + TimeDelta::hours(1), 60);
    assert_eq!(times[0], monday());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::minutes(1)));
}
