//! The structured fields of a record: few, named by the program, filled by the request.

use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// Named texts, sorted by name, each name once.
///
/// Names that live in the program (`&'static str`, as `tracing` has them) are shared and cost
/// nothing; values are owned. Made for the dozen fields of a record: look-up is a binary search,
/// insertion is O(n). Serialized as a map.
///
/// ```
/// use homeostasis::core::signal::Fields;
/// let mut fields = Fields::new();
/// fields.insert("order", "7");
/// fields.insert(String::from("table"), "orders");
/// assert_eq!(fields.get("order"), Some("7"));
/// assert_eq!(fields["table"], "orders");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fields(Vec<(Cow<'static, str>, String)>);

impl Fields {
    /// No fields; does not allocate.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No fields, with room for `n`.
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Sets a field; gives what it was before.
    pub fn insert(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).ok().map(|at| self.0[at].1.as_str())
    }

    /// Whether there is such a field.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Moves all of `other` here; its values win.
    pub fn append(&mut self, other: &mut Self) {
        for (name, value) in other.0.drain(..) {
            self.insert(name, value);
        }
    }

    /// Copies the fields of `other` whose names are not here yet; what is here stays.
    pub fn fill_from(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (name, value) in &other.0 {
            if let Err(at) = self.find(name) {
                self.0.insert(at, (name.clone(), value.clone()));
            }
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Names and values, by name; the values can be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut String)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }

    /// The values, in the order of the names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.as_str())
    }

    /// Gives fields other names; of two that end up with one name the later wins.
    pub(crate) fn rename(&mut self, other: impl Fn(&Cow<'static, str>) -> Option<String>) {
        let mut renamed = Self::new();
        self.0.retain_mut(|(name, value)| {
            let Some(name) = other(name) else { return true };
            renamed.insert(name, std::mem::take(value));
            false
        });
        if !renamed.is_empty() {
            self.append(&mut renamed);
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| (**held).cmp(name))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Index<&str> for Fields {
    type Output = String;

    /// # Panics
    /// If there is no such field; [`Fields::get`] does not.
    fn index(&self, name: &str) -> &String {
        let at = self.find(name).ok();
        match at {
            Some(at) => &self.0[at].1,
            None => panic!("no field {name:?}"),
        }
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<String>> Extend<(N, V)> for Fields {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.insert(name, value);
        }
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<String>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut collected = Self::new();
        collected.extend(fields);
        collected
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    fields.insert(name, value);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_behave_as_a_sorted_map(
            steps in prop::collection::vec(("[a-d]{1,2}", "[x-z]{0,3}", any::<bool>()), 0..40),
        ) {
            let (mut fields, mut model) = (Fields::new(), BTreeMap::new());
            for (name, value, remove) in steps {
                if remove {
                    prop_assert_eq!(fields.remove(&name), model.remove(&name));
                } else {
                    prop_assert_eq!(
                        fields.insert(name.clone(), value.clone()),
                        model.insert(name, value)
                    );
                }
                prop_assert!(
                    fields.iter().eq(model.iter().map(|(n, v)| (n.as_str(), v.as_str())))
                );
            }
            let defaults = Fields::from_iter([("a", "1"), ("b", "2"), ("dd", "3")]);
            let mut filled = fields.clone();
            filled.fill_from(&defaults);
            let mut expected = defaults;
            expected.append(&mut fields.clone());
            prop_assert_eq!(filled, expected);
            let text = serde_json::to_string(&fields).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&model).unwrap());
            prop_assert_eq!(serde_json::from_str::<Fields>(&text).unwrap(), fields);
        }
    }
}
