//! A list of counters in serde's data model: its words. For `#[serde(with = …)]`, so that a counter
//! that is added to a list needs no field here.

use metronome_proto::counters::{CounterList, WORDS};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<L: CounterList, S: Serializer>(
    list: &L,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    list.to_words().serialize(serializer)
}

pub(super) fn deserialize<'de, L: CounterList, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<L, D::Error> {
    <[u64; WORDS]>::deserialize(deserializer).map(|words| L::from_words(&words))
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Counted {
        #[serde(with = "super")]
        counts: v1::ReceiverCounts,
    }

    proptest! {
        #[test]
        fn a_list_survives_being_saved(words: [u64; WORDS]) {
            let counted = Counted { counts: v1::ReceiverCounts::from_words(&words) };
            let bytes = postcard::to_stdvec(&counted).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Counted>(&bytes), Ok(counted));
        }
    }
}
