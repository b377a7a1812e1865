//! JSON Schemas of the types whose JSON is not that of their fields.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::signal::Fields;
use crate::target::Target;
use crate::time::Timestamp;

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An instant between 1678 and 2262, as RFC 3339.",
            "type": "string",
            "format": "date-time",
        })
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A service or one instance of it: `service` or `service/instance`, each of 1 to 128 characters.",
            "type": "string",
            "minLength": 1,
            "maxLength": 257,
            "pattern": "^[^/]+(/[^/]+)?$",
        })
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Named texts.",
            "type": "object",
            "additionalProperties": { "type": "string" },
        })
    }
}
