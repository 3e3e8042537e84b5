//! config.json as oci-spec reads it, and the one section that oci-spec has no field for.
//!
//! It would be dropped without a word, so each key of the outermost object is looked at on its
//! way to oci-spec. No value is read twice.

use std::borrow::Cow;
use std::fmt;

use oci_spec::runtime::Spec;
use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// See the module's text. Goes when `Spec` has `freebsd` (not in oci-spec 0.10).
#[derive(Debug)]
pub struct Config {
    pub spec: Spec,
    /// There is a section `freebsd`.
    pub freebsd: bool,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Outermost)
    }
}

struct Outermost;

impl<'de> Visitor<'de> for Outermost {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
        let mut freebsd = false;
        let keys = Keys {
            map,
            freebsd: &mut freebsd,
        };
        let spec = Spec::deserialize(MapAccessDeserializer::new(keys))?;
        Ok(Config { spec, freebsd })
    }
}

/// Passes every key on but one.
struct Keys<'a, A> {
    map: A,
    freebsd: &'a mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Keys<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<Cow<'de, str>>()? {
            if key != "freebsd" {
                return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
            }
            *self.freebsd |= self.map.next_value::<Option<IgnoredAny>>()?.is_some();
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_that_oci_spec_does_not_know_is_seen() {
        let read = |text: &str| serde_json::from_str::<Config>(text).unwrap();
        assert!(read(r#"{"freebsd": {"jail": {}}, "hostname": "a"}"#).freebsd);
        assert!(!read(r#"{"freebsd": null, "hostname": "a"}"#).freebsd);
        let config = read(r#"{"hostname": "a", "freebsd": [], "domainname": "b"}"#);
        assert_eq!(config.spec.hostname().as_deref(), Some("a"));
        assert_eq!(config.spec.domainname().as_deref(), Some("b"));
    }

    #[test]
    fn oci_spec_does_not_have_it() {
        let spec: Spec = serde_json::from_str(r#"{"freebsd": {"jail": {}}}"#).unwrap();
        let text = serde_json::to_string(&spec).unwrap();
        assert!(!text.contains("freebsd"), "it has it now: this can go");
    }
}
