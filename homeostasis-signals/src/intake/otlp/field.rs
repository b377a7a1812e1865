//! The kinds of fields, each in both encodings, and how messages are made of them.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::wire::{Budget, Problem, Reader, Value, WireError};

/// A message: named and numbered fields.
pub(super) trait Message: Default {
    /// The number of the field that JSON calls `name`; 0 if there is none.
    fn number(name: &str) -> u32;

    /// Reads one field; unknown numbers are passed over.
    fn merge(&mut self, number: u32, value: Value<'_>, budget: &Budget) -> Result<(), WireError>;

    /// Reads the value of one field of a JSON object; unknown numbers are passed over.
    fn merge_json<'de, A: MapAccess<'de>>(
        &mut self,
        number: u32,
        map: &mut A,
        budget: &Budget,
    ) -> Result<(), A::Error>;

    /// Reads all fields in `bytes`.
    fn merge_all(&mut self, bytes: &[u8], budget: &Budget) -> Result<(), WireError> {
        budget.deeper(WireError::from, || {
            let mut reader = Reader(bytes);
            while !reader.is_empty() {
                let (number, value) = reader.field()?;
                self.merge(number, value, budget)?;
            }
            Ok(())
        })
    }
}

/// How a field of type `T` is read.
pub(super) trait Kind<T> {
    fn merge(field: &mut T, value: Value<'_>, budget: &Budget) -> Result<(), WireError>;

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut T,
        json: D,
        budget: &Budget,
    ) -> Result<(), D::Error>;
}

/// Where a JSON value goes.
pub(super) struct Slot<'a, K, T> {
    field: &'a mut T,
    budget: &'a Budget,
    kind: PhantomData<K>,
}

impl<'a, K, T> Slot<'a, K, T> {
    pub(super) fn new(field: &'a mut T, budget: &'a Budget) -> Self {
        Self {
            field,
            budget,
            kind: PhantomData,
        }
    }
}

impl<'de, K: Kind<T>, T> DeserializeSeed<'de> for Slot<'_, K, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        K::merge_json(self.field, json, self.budget)
    }
}

/// Declares messages: the number, the name in JSON, the field and its kind.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident {
        $($number:literal $json:literal $field:ident: $type:ty = $kind:ty,)*
    })*) => {$(
        $(#[$doc])*
        #[allow(clippy::struct_field_names, reason = "the names are those of OTLP")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl Message for $name {
            fn number(name: &str) -> u32 {
                match name {
                    $($json => $number,)*
                    _ => 0,
                }
            }

            fn merge(
                &mut self,
                number: u32,
                value: Value<'_>,
                budget: &Budget,
            ) -> Result<(), WireError> {
                match number {
                    $($number => <$kind as Kind<$type>>::merge(&mut self.$field, value, budget)
                        .map_err(|error| error.within($json)),)*
                    _ => Ok(()),
                }
            }

            fn merge_json<'de, A: MapAccess<'de>>(
                &mut self,
                number: u32,
                map: &mut A,
                budget: &Budget,
            ) -> Result<(), A::Error> {
                match number {
                    $($number => map.next_value_seed(
                        Slot::<$kind, $type>::new(&mut self.$field, budget),
                    ),)*
                    _ => map.next_value::<serde::de::IgnoredAny>().map(drop),
                }
            }
        }
    )*};
}

pub(super) use messages;

/// Declares kinds of numbers: the wire value they stand in, and how they are made of it.
macro_rules! numbers {
    ($($(#[$doc:meta])* $kind:ident: $type:ty, $expected:literal, $wire:pat => $made:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $kind;

        impl Kind<$type> for $kind {
            fn merge(field: &mut $type, value: Value<'_>, _: &Budget) -> Result<(), WireError> {
                let $wire = value else { return Err(Problem($expected).into()) };
                *field = $made;
                Ok(())
            }

            fn merge_json<'de, D: Deserializer<'de>>(
                field: &mut $type,
                json: D,
                _: &Budget,
            ) -> Result<(), D::Error> {
                if let Some(number) = json.deserialize_any(Number::<$type>(PhantomData))? {
                    *field = number;
                }
                Ok(())
            }
        }
    )*};
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "32-bit numbers are cut by the rules of the wire format"
)]
fn low32(bits: u64) -> u32 {
    bits as u32
}

numbers! {
    Fixed64: u64, "a fixed 64-bit number", Value::Fixed64(bits) => bits;
    SFixed64: i64, "a fixed 64-bit number", Value::Fixed64(bits) => bits.cast_signed();
    Double: f64, "a 64-bit floating-point number", Value::Fixed64(bits) => f64::from_bits(bits);
    Int64: i64, "a number", Value::Varint(bits) => bits.cast_signed();
    UInt64: u64, "a number", Value::Varint(bits) => bits;
    /// Enumerations too.
    Int32: i32, "a number", Value::Varint(bits) => low32(bits).cast_signed();
    UInt32: u32, "a number", Value::Varint(bits) => low32(bits);
    SInt32: i32, "a number", Value::Varint(bits) => {
        let bits = low32(bits);
        (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
    };
}

/// A number of JSON: as number or as text; `null` is none.
struct Number<T>(PhantomData<T>);

/// What a number of JSON can be made of.
pub(super) trait FromJson: Sized {
    fn whole(number: i128) -> Option<Self>;
    fn float(number: f64) -> Option<Self>;
    fn text(text: &str) -> Option<Self>;
}

macro_rules! whole_from_json {
    ($($type:ty)*) => {$(
        impl FromJson for $type {
            fn whole(number: i128) -> Option<Self> {
                Self::try_from(number).ok()
            }

            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked to be whole and within the range of an i128"
            )]
            fn float(number: f64) -> Option<Self> {
                (number.fract() == 0.0 && number.abs() < 1e30)
                    .then(|| Self::whole(number as i128))?
            }

            fn text(text: &str) -> Option<Self> {
                text.parse().ok().or_else(|| Self::float(text.parse().ok()?))
            }
        }
    )*};
}

whole_from_json!(i32 i64 u32 u64);

impl FromJson for f64 {
    fn whole(number: i128) -> Option<Self> {
        Some(number as Self)
    }

    fn float(number: f64) -> Option<Self> {
        Some(number)
    }

    /// `NaN`, `Infinity` and `-Infinity` too.
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl<T: FromJson> Number<T> {
    fn checked<E: serde::de::Error>(
        number: Option<T>,
        is: impl fmt::Display,
    ) -> Result<Option<T>, E> {
        number.map(Some).ok_or_else(|| {
            let type_name = std::any::type_name::<T>();
            E::custom(format_args!("{is}, expected a number ({type_name})"))
        })
    }
}

impl<T: FromJson> Visitor<'_> for Number<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a number as text")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Option<T>, E> {
        Self::checked(T::whole(number.into()), number)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Option<T>, E> {
        Self::checked(T::whole(number.into()), number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Option<T>, E> {
        Self::checked(T::float(number), number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<T>, E> {
        Self::checked(T::text(text), format_args!("{text:?}"))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

/// Yes or no.
pub(super) struct Bool;

impl Kind<bool> for Bool {
    fn merge(field: &mut bool, value: Value<'_>, _: &Budget) -> Result<(), WireError> {
        let Value::Varint(bits) = value else {
            return Err(Problem("a boolean").into());
        };
        *field = bits != 0;
        Ok(())
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut bool,
        json: D,
        _: &Budget,
    ) -> Result<(), D::Error> {
        *field = <Option<bool> as serde::Deserialize>::deserialize(json)?.unwrap_or_default();
        Ok(())
    }
}

/// Text in UTF-8.
pub(super) struct Text;

impl Kind<String> for Text {
    fn merge(field: &mut String, value: Value<'_>, _: &Budget) -> Result<(), WireError> {
        let Value::Bytes(bytes) = value else {
            return Err(Problem("text").into());
        };
        let text = std::str::from_utf8(bytes).map_err(|_| Problem("text in UTF-8"))?;
        text.clone_into(field);
        Ok(())
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut String,
        json: D,
        _: &Budget,
    ) -> Result<(), D::Error> {
        *field = <Option<String> as serde::Deserialize>::deserialize(json)?.unwrap_or_default();
        Ok(())
    }
}

/// The id of a trace or a span: bytes, in JSON as hexadecimal digits.
pub(super) struct Id;

/// Bytes, in JSON as Base64.
pub(super) struct Base64;

/// How JSON writes bytes.
trait Digits {
    fn read(text: &str) -> Option<Vec<u8>>;
    const EXPECTED: &'static str;
}

impl Digits for Id {
    fn read(text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|n| u8::try_from(n).ok())
        };
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect()
    }

    const EXPECTED: &'static str = "an id in hexadecimal digits";
}

impl Digits for Base64 {
    fn read(text: &str) -> Option<Vec<u8>> {
        STANDARD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .ok()
    }

    const EXPECTED: &'static str = "bytes in Base64";
}

impl<D: Digits> Kind<Vec<u8>> for D {
    fn merge(field: &mut Vec<u8>, value: Value<'_>, _: &Budget) -> Result<(), WireError> {
        let Value::Bytes(bytes) = value else {
            return Err(Problem("bytes").into());
        };
        bytes.clone_into(field);
        Ok(())
    }

    fn merge_json<'de, J: Deserializer<'de>>(
        field: &mut Vec<u8>,
        json: J,
        _: &Budget,
    ) -> Result<(), J::Error> {
        let text = <Option<String> as serde::Deserialize>::deserialize(json)?.unwrap_or_default();
        *field = D::read(&text)
            .ok_or_else(|| J::Error::custom(format_args!("{text:?}, expected {}", D::EXPECTED)))?;
        Ok(())
    }
}

/// A number that may be absent.
pub(super) struct Maybe<K>(PhantomData<K>);

impl<K: Kind<T>, T: FromJson + Default> Kind<Option<T>> for Maybe<K> {
    fn merge(field: &mut Option<T>, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        K::merge(field.insert(T::default()), value, budget)
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut Option<T>,
        json: D,
        _: &Budget,
    ) -> Result<(), D::Error> {
        *field = json.deserialize_any(Number(PhantomData))?;
        Ok(())
    }
}

/// A message within a message.
pub(super) struct Nested;

impl<M: Message> Kind<M> for Nested {
    fn merge(field: &mut M, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        let Value::Bytes(bytes) = value else {
            return Err(Problem("a message").into());
        };
        field.merge_all(bytes, budget)
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut M,
        json: D,
        budget: &Budget,
    ) -> Result<(), D::Error> {
        budget.deeper(D::Error::custom, || {
            json.deserialize_any(Object { field, budget })
        })
    }
}

impl<M: Message> Kind<Option<M>> for Nested {
    fn merge(field: &mut Option<M>, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        <Self as Kind<M>>::merge(field.get_or_insert_default(), value, budget)
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut Option<M>,
        json: D,
        budget: &Budget,
    ) -> Result<(), D::Error> {
        <Self as Kind<M>>::merge_json(field.get_or_insert_default(), json, budget)
    }
}

/// The fields of a JSON object go into a message; `null` is a message without fields.
struct Object<'a, M> {
    field: &'a mut M,
    budget: &'a Budget,
}

impl<'de, M: Message> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(number) = map.next_key_seed(Name::<M>(PhantomData))? {
            self.field.merge_json(number, &mut map, self.budget)?;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads the name of a field as its number, without keeping the text.
struct Name<M>(PhantomData<M>);

impl<'de, M: Message> DeserializeSeed<'de> for Name<M> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<u32, D::Error> {
        json.deserialize_str(self)
    }
}

impl<M: Message> Visitor<'_> for Name<M> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<u32, E> {
        Ok(M::number(name))
    }
}

/// Any number of messages.
pub(super) struct Each;

impl<M: Message> Kind<Vec<M>> for Each {
    fn merge(field: &mut Vec<M>, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        budget.charge::<M>()?;
        let mut message = M::default();
        Nested::merge(&mut message, value, budget)?;
        field.push(message);
        Ok(())
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut Vec<M>,
        json: D,
        budget: &Budget,
    ) -> Result<(), D::Error> {
        json.deserialize_any(Array::<Nested, M>::new(field, budget))
    }
}

/// Any number of numbers, on the wire in one piece or one by one.
pub(super) struct Packed<K>(PhantomData<K>);

/// A number that is packed with others of its kind.
pub(super) trait Packable {
    fn next<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Problem>;
}

impl Packable for Fixed64 {
    fn next<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Problem> {
        reader.fixed64().map(Value::Fixed64)
    }
}

impl Packable for Double {
    fn next<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Problem> {
        reader.fixed64().map(Value::Fixed64)
    }
}

impl Packable for UInt64 {
    fn next<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Problem> {
        reader.varint().map(Value::Varint)
    }
}

impl<K: Kind<T> + Packable, T: FromJson + Default> Kind<Vec<T>> for Packed<K> {
    fn merge(field: &mut Vec<T>, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        let mut push = |value| {
            budget.charge::<T>()?;
            let mut number = T::default();
            K::merge(&mut number, value, budget)?;
            field.push(number);
            Ok(())
        };
        let Value::Bytes(bytes) = value else {
            return push(value);
        };
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            push(K::next(&mut reader)?)?;
        }
        Ok(())
    }

    fn merge_json<'de, D: Deserializer<'de>>(
        field: &mut Vec<T>,
        json: D,
        budget: &Budget,
    ) -> Result<(), D::Error> {
        json.deserialize_any(Array::<K, T>::new(field, budget))
    }
}

/// The elements of a JSON array; `null` is an empty one.
struct Array<'a, K, T> {
    field: &'a mut Vec<T>,
    budget: &'a Budget,
    kind: PhantomData<K>,
}

impl<'a, K, T> Array<'a, K, T> {
    fn new(field: &'a mut Vec<T>, budget: &'a Budget) -> Self {
        Self {
            field,
            budget,
            kind: PhantomData,
        }
    }
}

impl<'de, K: Kind<T>, T: Default> Visitor<'de> for Array<'_, K, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        loop {
            let mut element = T::default();
            let slot = Slot::<K, T>::new(&mut element, self.budget);
            if array.next_element_seed(slot)?.is_none() {
                return Ok(());
            }
            self.budget.charge::<T>().map_err(A::Error::custom)?;
            self.field.push(element);
        }
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
