//! Sizes and durations as people write them: `64MiB`, `1.5T`, `10s`, `5m`. Command lines and files call it.

use std::time::Duration;

const SIZES: [(&str, u64); 5] = [("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];

/// Bytes with an optional unit. `K`, `KB` and `KiB` are all 1024, as file systems count.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit.trim_end_matches('B').trim_end_matches('I');
    let shift = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, shift)) => *shift,
        None if unit.is_empty() => 0,
        None => {
            return Err(format!(
                "{text:?} is no size: write bytes, or 64K, 64MiB, 10G, 2T"
            ));
        }
    };
    let factor = (1u64 << shift) as f64;
    match number.parse::<f64>() {
        Ok(value) if value >= 0.0 && value * factor < i64::MAX as f64 => Ok((value * factor) as u64),
        _ => Err(format!(
            "{text:?} is no size: write bytes, or 64K, 64MiB, 10G, 2T"
        )),
    }
}

/// A duration with its unit: `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 500ms, 10s, 5m, 24h or 7d");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let value: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let millis = match trimmed[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    value
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}
