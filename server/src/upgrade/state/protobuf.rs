//! A message of the API among other fields: as its own bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Protobuf<M>(pub(crate) M);

impl<M: fmt::Debug> fmt::Debug for Protobuf<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<M: prost::Message> Serialize for Protobuf<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.encode_to_vec().serialize(serializer)
    }
}

impl<'de, M: prost::Message + Default> Deserialize<'de> for Protobuf<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        M::decode(&bytes[..]).map(Self).map_err(D::Error::custom)
    }
}
