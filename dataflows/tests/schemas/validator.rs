//! As much of JSON Schema 2020-12 as the published schemas use; any other keyword is an error of the test.
//! An integer is a number without fraction or exponent, which is stricter than JSON Schema, as `docs/events.md` says.

use serde_json::{Map, Value};

/// Whether the schema accepts the value.
pub(crate) fn accepts(schema: &Value, value: &Value) -> bool {
    let keywords = match schema {
        Value::Bool(accepted) => return *accepted,
        other => other.as_object().expect("a schema is an object or a boolean"),
    };
    keywords.iter().all(|(keyword, operand)| match keyword.as_str() {
        "$schema" | "$id" | "title" | "description" | "default" => true,
        "type" => match operand {
            Value::Array(types) => types.iter().any(|name| is_of_type(name, value)),
            name => is_of_type(name, value),
        },
        "const" => value == operand,
        "enum" => operand.as_array().is_some_and(|list| list.contains(value)),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= count(operand)),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= count(operand)),
        "minimum" => integer(value).is_none_or(|number| number >= integer(operand).expect("a bound is an integer")),
        "maximum" => integer(value).is_none_or(|number| number <= integer(operand).expect("a bound is an integer")),
        "not" => !accepts(operand, value),
        "allOf" => operand.as_array().expect("allOf is a list").iter().all(|schema| accepts(schema, value)),
        "if" => {
            let branch = if accepts(operand, value) { "then" } else { "else" };
            keywords.get(branch).is_none_or(|schema| accepts(schema, value))
        }
        "then" | "else" => true,
        _ => value.as_object().is_none_or(|object| accepts_object(keyword, operand, keywords, object)),
    })
}

fn accepts_object(keyword: &str, operand: &Value, keywords: &Map<String, Value>, object: &Map<String, Value>) -> bool {
    let has = |names: &Value| {
        let mut names = names.as_array().expect("names are a list").iter();
        names.all(|name| object.contains_key(name.as_str().expect("a name is a string")))
    };
    let properties = |schemas: &Value| schemas.as_object().expect("schemas by name").clone();
    match keyword {
        "required" => has(operand),
        "dependentRequired" => properties(operand).iter().all(|(name, names)| !object.contains_key(name) || has(names)),
        "properties" => {
            properties(operand).iter().all(|(name, schema)| object.get(name).is_none_or(|value| accepts(schema, value)))
        }
        "additionalProperties" => {
            let known = keywords.get("properties").map(properties).unwrap_or_default();
            object.iter().filter(|(name, _)| !known.contains_key(*name)).all(|(_, value)| accepts(operand, value))
        }
        "propertyNames" => object.keys().all(|name| accepts(operand, &Value::String(name.clone()))),
        "maxProperties" => object.len() as u64 <= count(operand),
        other => panic!("the test knows no keyword {other}"),
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type is a name") {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => integer(value).is_some(),
        other => panic!("the test knows no type {other}"),
    }
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn count(operand: &Value) -> u64 {
    operand.as_u64().expect("a length is not negative")
}
