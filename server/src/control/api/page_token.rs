//! Page tokens of ListRuns: where the next page begins, bound to the filter and the order of the
//! list. Pure.
//!
//! A token is 32 hexadecimal digits: a check over filter, order and place, then the place, masked
//! by the check. So a token of another list, and one that was changed, is none. It is no secret: it
//! gives access to nothing.

use metronome_proto::{
    filter::{Filter, Order},
    run_id::RunId,
};
use sha2::{Digest as _, Sha256};

/// The token of the page behind `after`.
pub(super) fn to_token(filter: &Filter, order: Order, after: RunId) -> String {
    let check = check(filter, order, after);
    format!("{check:016x}{:016x}", after.bits() ^ check)
}

/// Behind which run the page of a token begins. `None`: it is no token of this list.
pub(super) fn from_token(filter: &Filter, order: Order, token: &str) -> Option<RunId> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.len() != 32 || !token.bytes().all(is_digit) {
        return None;
    }
    let (shown, masked) = token.split_at(16);
    let [shown, masked] = [shown, masked].map(|digits| u64::from_str_radix(digits, 16));
    let after = RunId::from_bits(masked.ok()? ^ shown.clone().ok()?);
    (check(filter, order, after) == shown.ok()?).then_some(after)
}

fn check(filter: &Filter, order: Order, after: RunId) -> u64 {
    // Neither text has a NUL, so no two lists have the same bytes.
    let list = format!("metronome page\0{order}\0{filter}\0{after}");
    let sum: [u8; 32] = Sha256::digest(list).into();
    let (first, _) = sum.split_first_chunk().expect("32 bytes have 8");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_shows_nothing_of_its_run_and_belongs_to_one_list() {
        let ended: Filter = "state = ENDED".parse().unwrap();
        let (all, after) = (Filter::default(), RunId::from_bits(7));
        let token = to_token(&ended, Order::NewestFirst, after);
        assert!(!token.contains(&after.to_string()));
        assert_eq!(from_token(&ended, Order::NewestFirst, &token), Some(after));
        assert_eq!(from_token(&all, Order::NewestFirst, &token), None);
        assert_eq!(from_token(&ended, Order::OldestFirst, &token), None);
        let spelled: Filter = " state=\"ENDED\" ".parse().unwrap();
        let same = from_token(&spelled, Order::NewestFirst, &token);
        assert_eq!(same, Some(after), "the same filter in other characters");
    }

    proptest! {
        #[test]
        fn a_token_survives_and_no_change_of_it_is_one(
            bits: u64, place in 0..32_usize, digit in "[0-9a-fA-F+ g]",
        ) {
            let (filter, order) = (Filter::default(), Order::NewestFirst);
            let after = RunId::from_bits(bits);
            let token = to_token(&filter, order, after);
            prop_assert_eq!(from_token(&filter, order, &token), Some(after));
            let mut changed = token.clone();
            changed.replace_range(place..=place, &digit);
            prop_assert!(changed == token || from_token(&filter, order, &changed).is_none());
        }

        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,40}") {
            prop_assert_eq!(from_token(&Filter::default(), Order::NewestFirst, &text), None);
        }
    }
}
