//! The counters of both ends as lists, so that what adds, stores or shows them needs no list of its
//! own. The lists are the messages `GeneratorCounts` and `ReceiverCounts` of the API: a field that
//! is added there is everywhere.

/// Words that a list of counters takes where it is stored; those without a counter are 0. So no
/// field has a higher number.
pub const WORDS: usize = 18;

/// A message of which every field is a counter.
pub trait CounterList: Copy + Default {
    /// The names of the counters, in the order of their field numbers.
    const NAMES: &'static [&'static str];

    /// The counters as words: the one of field number n is word n − 1.
    fn to_words(&self) -> [u64; WORDS];

    /// The counters from their words, all known; words without a counter are ignored.
    fn from_words(words: &[u64; WORDS]) -> Self;

    /// Nothing counted yet, and all of it known.
    #[must_use]
    fn zero() -> Self {
        Self::from_words(&[0; WORDS])
    }

    /// Every counter with its name, in the order of their field numbers. `None`: not known.
    fn values(&self) -> impl Iterator<Item = (&'static str, Option<u64>)>;

    /// The sum of every counter with that of `other`, at most 2^64 − 1. Unknown where one is.
    #[must_use]
    fn plus(&self, other: &Self) -> Self;

    /// What was counted since `earlier`, at least 0. Unknown where one is.
    #[must_use]
    fn since(&self, earlier: &Self) -> Self;

    /// The counters of a part without those whose `sum` over all parts is not what is `known` of
    /// the whole. `None` where one of these is always there.
    #[must_use]
    fn agreed(self, sum: &Self, known: &Self) -> Option<Self>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1;

    fn survives<L: CounterList + PartialEq + std::fmt::Debug>(words: [u64; WORDS]) {
        let list = L::from_words(&words);
        assert_eq!(L::from_words(&list.to_words()), list);
        assert!(L::NAMES.len() <= WORDS);
        let named: Vec<_> = list.values().map(|(name, _)| name).collect();
        assert_eq!(named, L::NAMES);
        let sum: u128 = list
            .values()
            .map(|(_, value)| u128::from(value.unwrap()))
            .sum();
        let words: u128 = list.to_words().iter().map(|word| u128::from(*word)).sum();
        assert_eq!(sum, words, "each counter has a word of its own");
    }

    proptest! {
        #[test]
        fn a_list_survives_its_words(words: [u64; WORDS]) {
            survives::<v1::GeneratorCounts>(words);
            survives::<v1::ReceiverCounts>(words);
        }

        #[test]
        fn sums_saturate(one: [u64; WORDS], other: [u64; WORDS]) {
            let [one, other] = [one, other].map(|words| v1::ReceiverCounts::from_words(&words));
            let sum = one.plus(&other);
            prop_assert_eq!(sum.received, one.received.saturating_add(other.received));
            prop_assert_eq!(sum.corrupt, one.corrupt.saturating_add(other.corrupt));
        }

        #[test]
        fn what_was_counted_since_and_what_was_before_is_all(
            then in prop::array::uniform::<_, WORDS>(0..1_000_u64),
            more in prop::array::uniform::<_, WORDS>(0..1_000_u64),
        ) {
            let [then, more] = [then, more].map(|words| v1::ReceiverCounts::from_words(&words));
            prop_assert_eq!(then.plus(&more).since(&then), more);
            prop_assert_eq!(then.since(&then.plus(&more)), v1::ReceiverCounts::zero());
        }
    }
}
