//! Names from text, and metadata as a JSON object.

use std::fmt;
use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::ids::Tag;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names and values, written as a JSON object. The order is kept; a name given twice is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub Vec<(Arc<str>, Arc<str>)>);

impl Metadata {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&**name, &**value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose values are strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut entries: Vec<(Arc<str>, Arc<str>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if entries.iter().any(|(known, _)| **known == *name) {
                        let twice = format!("the name {name:?} is given twice; give it once");
                        return Err(de::Error::custom(twice));
                    }
                    entries.push((name.into(), value.into()));
                }
                Ok(Metadata(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

pub(super) fn read_tags(tags: &[String]) -> Result<Vec<Tag>> {
    tags.iter().map(|tag| Tag::new(tag)).collect()
}

pub(super) fn write_tags(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}
