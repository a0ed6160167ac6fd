//! CSV bodies, read as Meilisearch reads them.

use serde_json::{Map, Value};

use crate::api_error::{ApiError, Code};

#[derive(Clone, Copy)]
enum CellType {
    Text,
    Boolean,
    Number,
}

/// The documents of a CSV body as compact JSON objects.
///
/// Headers may be typed, `price:number`, `sold:boolean`, `name:string`; an empty cell is
/// null; of two columns with one name the later wins.
pub(super) fn parse(body: &[u8], delimiter: u8) -> Result<Vec<String>, ApiError> {
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(body);
    let headers = reader
        .headers()
        .map_err(|error| malformed(&error.to_string()))?
        .clone();
    let columns: Vec<(&str, CellType)> = headers.iter().map(column).collect();
    let mut object: Map<String, Value> = columns
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Value::Null))
        .collect();

    let mut documents = Vec::new();
    let mut record = ::csv::StringRecord::new();
    let mut line = 0_usize;
    while reader
        .read_record(&mut record)
        .map_err(|error| malformed(&error.to_string()))?
    {
        line += 1;
        for ((name, cell_type), cell) in columns.iter().zip(&record) {
            let value = convert(*cell_type, cell, line)?;
            object.insert((*name).to_owned(), value);
        }
        documents.push(Value::Object(object.clone()).to_string());
    }
    Ok(documents)
}

/// Splits on the last colon only; an unknown type is part of the name.
fn column(header: &str) -> (&str, CellType) {
    match header.rsplit_once(':') {
        Some((name, "string")) => (name, CellType::Text),
        Some((name, "boolean")) => (name, CellType::Boolean),
        Some((name, "number")) => (name, CellType::Number),
        _ => (header, CellType::Text),
    }
}

fn convert(cell_type: CellType, cell: &str, line: usize) -> Result<Value, ApiError> {
    let trimmed = cell.trim();
    match cell_type {
        CellType::Text if cell.is_empty() => Ok(Value::Null),
        CellType::Text => Ok(Value::from(cell)),
        CellType::Boolean | CellType::Number if trimmed.is_empty() => Ok(Value::Null),
        CellType::Boolean => trimmed.parse::<bool>().map(Value::from).map_err(|error| {
            malformed(&format!(
                "Error parsing boolean {cell:?} at line {line}: {error}"
            ))
        }),
        CellType::Number => match trimmed.parse::<i64>() {
            Ok(integer) => Ok(Value::from(integer)),
            Err(_) => trimmed.parse::<f64>().map(Value::from).map_err(|error| {
                malformed(&format!(
                    "Error parsing number {cell:?} at line {line}: {error}"
                ))
            }),
        },
    }
}

fn malformed(problem: &str) -> ApiError {
    ApiError::new(
        Code::MalformedPayload,
        format!("The `csv` payload provided is malformed: `{problem}`."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_typed_by_their_header() {
        let body = "id,name:string,n:number,b:boolean,x:y,name\n\
                    7, a ,1.50,true,t,\"q,\"\"q\"\"\"\n\
                    8,,, ,,\n\
                    9,a,-3,false,,b\r\n";
        assert_eq!(
            parse(body.as_bytes(), b',').expect("CSV"),
            [
                r#"{"id":"7","name":"q,\"q\"","n":1.5,"b":true,"x:y":"t"}"#,
                r#"{"id":"8","name":null,"n":null,"b":null,"x:y":null}"#,
                r#"{"id":"9","name":"b","n":-3,"b":false,"x:y":null}"#,
            ]
        );
    }

    #[test]
    fn delimiters_byte_order_mark_and_empty_bodies() {
        assert_eq!(
            parse(b"\xef\xbb\xbfid|a\n1|2\n", b'|').expect("CSV"),
            [r#"{"id":"1","a":"2"}"#]
        );
        assert!(parse(b"id,a\n", b',').expect("CSV").is_empty());
        assert!(parse(b"\n", b',').expect("CSV").is_empty());
    }

    #[test]
    fn errors_name_the_cell() {
        let table: [(&[u8], &str); 4] = [
            (
                b"id,b:boolean\n1,doggo\n",
                "Error parsing boolean \"doggo\" at line 1: provided string was not `true` or `false`",
            ),
            (
                b"id,n:number\n1,2\n2,doggo\n",
                "Error parsing number \"doggo\" at line 2: invalid float literal",
            ),
            (
                b"id,name\n1,2,3\n",
                "CSV error: record 1 (line: 2, byte: 8): found record with 3 fields, but the previous record has 2 fields",
            ),
            (
                b"id\n\xff\n",
                "CSV parse error: record 1 (line 2, field: 0, byte: 3): invalid utf-8: invalid UTF-8 in field 0 near byte index 0",
            ),
        ];
        for (body, problem) in table {
            let error = parse(body, b',').expect_err("malformed");
            assert_eq!(error.code, Code::MalformedPayload);
            assert_eq!(
                error.message,
                format!("The `csv` payload provided is malformed: `{problem}`.")
            );
        }
    }
}
