//! Decimal numbers of users, exactly as they are written: none is rounded without a word. Pure.

/// A decimal number without a sign, times 10 to the power of `decimals`. `None` for what is none,
/// what has more decimals than that, and what no `u64` can hold: nothing is rounded.
pub(crate) fn scaled(text: &str, decimals: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let zeros = decimals.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(10_u64.checked_pow(zeros)?)
}
