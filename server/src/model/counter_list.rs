//! A list of counters in serde's data model: as its own message. For `#[serde(with = …)]`, so that
//! a counter that is added to a list needs no field here, and one that is not known stays so.

use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(super) fn serialize<M: Message, S: Serializer>(
    list: &M,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    list.encode_to_vec().serialize(serializer)
}

pub(super) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<M, D::Error> {
    let bytes = Vec::<u8>::deserialize(deserializer)?;
    M::decode(&bytes[..]).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        counters::{CounterList as _, WORDS},
        v1,
    };
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Counted {
        #[serde(with = "super")]
        counts: v1::ReceiverCounts,
    }

    proptest! {
        #[test]
        fn a_list_survives_being_saved(words: [u64; WORDS], read_before_written: Option<u64>) {
            let counts = v1::ReceiverCounts {
                read_before_written,
                ..v1::ReceiverCounts::from_words(&words)
            };
            let counted = Counted { counts };
            let bytes = postcard::to_stdvec(&counted).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Counted>(&bytes), Ok(counted));
        }
    }
}
