//! The body of a multi-search, checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api_error::{ApiError, Code};
use crate::body::{self, needs_network, needs_personalization};
use crate::hidden_field::check_attributes;
use crate::id::IndexUid;
use crate::search::query::{Pagination, SearchQuery};

const DEFAULT_LIMIT: u64 = 20;
const PAGING: [&str; 4] = ["offset", "limit", "page", "hitsPerPage"];

/// The members of a query, in the order in which Meilisearch lists them.
const QUERY: [&str; 32] = [
    "indexUid",
    "q",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "attributesToRetrieve",
    "attributesToCrop",
    "cropLength",
    "cropMarker",
    "attributesToHighlight",
    "highlightPreTag",
    "highlightPostTag",
    "showMatchesPosition",
    "filter",
    "sort",
    "distinct",
    "facets",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "locales",
    "hybrid",
    "vector",
    "retrieveVectors",
    "media",
    "personalize",
    "useNetwork",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
    "federationOptions",
];
const FEDERATION: [&str; 9] = [
    "limit",
    "offset",
    "page",
    "hitsPerPage",
    "facetsByIndex",
    "mergeFacets",
    "distinct",
    "showPerformanceDetails",
    "personalize",
];
const OPTIONS: [&str; 3] = ["weight", "remote", "queryPosition"];

/// The body of a multi-search.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSearch {
    /// The searches, in the client's order. One may be wrong by itself: then it is the error that
    /// the request is answered with if every search before it succeeds.
    pub queries: Vec<Result<MultiQuery, ApiError>>,
    /// How to merge them; `None` answers each by itself.
    pub federation: Option<Federation>,
}

/// One search of several.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiQuery {
    /// The index.
    pub index: IndexUid,
    /// The search, whose index has been told already.
    pub query: SearchQuery,
    /// By which its scores are multiplied when it is merged with others.
    pub weight: f64,
}

/// How several searches are merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Federation {
    /// Which part of the hits is wanted.
    pub pagination: Pagination,
    /// The facets to count, by index.
    pub facets_by_index: BTreeMap<IndexUid, Option<Vec<String>>>,
    /// Whether facets of all indexes are counted together.
    pub merges_facets: bool,
    /// How many values to list of a facet that is counted over indexes; `None` for all.
    pub max_values_per_facet: Option<usize>,
    /// The attribute by which all hits must differ, whatever their index.
    pub distinct: Option<String>,
    /// Whether the answer tells how long its steps took.
    pub shows_performance: bool,
}

/// What a query says beside the search itself.
#[derive(Default)]
struct Beside {
    options: Option<Options>,
    uses_network: bool,
    personalizes: bool,
    shows_performance: bool,
    has_media: bool,
}

struct Options {
    weight: f64,
    remote: bool,
    position: bool,
}

impl MultiSearch {
    /// Reads the body.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(content: &[u8]) -> Result<Self, ApiError> {
        let mut members = body::parse_object(content)?;
        body::only(&members, "", &["queries", "federation"], Code::BadRequest)?;
        let federation = match members.remove("federation") {
            None | Some(Value::Null) => None,
            Some(value) => Some(Federation::read(value)?),
        };
        let queries = members
            .remove("queries")
            .ok_or_else(|| ApiError::new(Code::BadRequest, "Missing field `queries`"))?;
        let queries = body::array(&queries, ".queries", Code::BadRequest)?;
        let queries = queries
            .iter()
            .enumerate()
            .map(|(at, query)| read_query(query, at, federation.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            queries,
            federation,
        })
    }
}

/// The outer error is about the shape of the body, the inner one about what the query asks for.
fn read_query(
    value: &Value,
    at: usize,
    federation: Option<&Federation>,
) -> Result<Result<MultiQuery, ApiError>, ApiError> {
    let path = format!(".queries[{at}]");
    let mut members = body::object(value.clone(), &path, Code::BadRequest)?;
    body::only(&members, &path, &QUERY, Code::BadRequest)?;
    let index = read_index(members.remove("indexUid"), &path)?;
    let beside = Beside::take(&mut members, &path)?;
    let paged = PAGING
        .into_iter()
        .find(|name| members.get(*name).is_some_and(|value| !value.is_null()));
    let query = match SearchQuery::checked(members) {
        Ok(query) => query,
        Err(error) if speaks_of_a_path(&error) => return Err(at_query(error, at)),
        Err(error) => return Ok(Err(inside_query(error, at))),
    };
    let refused = match federation {
        Some(federation) => federated_refusal(&index, &query, paged, &beside, federation),
        None => beside.refusal(),
    };
    Ok(match refused {
        Some(error) => Err(inside_query(error, at)),
        None => Ok(MultiQuery {
            index,
            query,
            weight: beside.options.map_or(1.0, |options| options.weight),
        }),
    })
}

fn read_index(value: Option<Value>, path: &str) -> Result<IndexUid, ApiError> {
    let Some(value) = value else {
        let message = format!("Missing field `indexUid` inside `{path}`");
        return Err(ApiError::new(Code::MissingIndexUid, message));
    };
    let path = format!("{path}.indexUid");
    let uid = body::text(&value, &path, Code::InvalidIndexUid)?;
    IndexUid::parse(&uid).map_err(|error| {
        ApiError::new(
            Code::InvalidIndexUid,
            format!("Invalid value at `{path}`: {error}"),
        )
    })
}

/// Whether the error names a member of the body, so that the query's own place goes before it.
fn speaks_of_a_path(error: &ApiError) -> bool {
    [
        "Invalid value ",
        "Unknown value ",
        "Unknown field ",
        "Missing field ",
    ]
    .iter()
    .any(|start| error.message.starts_with(start))
        && error.message.contains("`.")
}

fn at_query(error: ApiError, at: usize) -> ApiError {
    let message = error
        .message
        .replacen("`.", &format!("`.queries[{at}]."), 1);
    ApiError { message, ..error }
}

fn inside_query(error: ApiError, at: usize) -> ApiError {
    let message = format!("Inside `.queries[{at}]`: {}", error.message);
    ApiError { message, ..error }
}

impl Beside {
    /// Takes out of the query what is not part of a search.
    fn take(members: &mut Map<String, Value>, path: &str) -> Result<Self, ApiError> {
        let mut take = |name: &str| members.remove(name).filter(|value| !value.is_null());
        let at = |name: &str| format!("{path}.{name}");
        let mut beside = Self::default();
        if let Some(value) = take("federationOptions") {
            beside.options = Some(Options::read(value, &at("federationOptions"))?);
        }
        if let Some(value) = take("useNetwork") {
            body::flag(&value, &at("useNetwork"), Code::InvalidSearchUseNetwork)?;
            beside.uses_network = true;
        }
        if let Some(value) = take("personalize") {
            body::object(value, &at("personalize"), Code::InvalidSearchPersonalize)?;
            beside.personalizes = true;
        }
        if let Some(value) = members.get("showPerformanceDetails")
            && !value.is_null()
        {
            let code = Code::InvalidSearchShowPerformanceDetails;
            body::flag(value, &at("showPerformanceDetails"), code)?;
            beside.shows_performance = true;
        }
        beside.has_media = members
            .remove("media")
            .is_some_and(|media| !media.is_null());
        Ok(beside)
    }

    /// Why the query cannot be answered by itself.
    fn refusal(&self) -> Option<ApiError> {
        if self.options.is_some() {
            return Some(ApiError::new(
                Code::InvalidMultiSearchFederationOptions,
                "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: remove `federationOptions` from the query or add `federation` to the request.",
            ));
        }
        self.feature()
    }

    /// The experimental feature that it would need.
    fn feature(&self) -> Option<ApiError> {
        if self.uses_network {
            return Some(needs_network("passing `useNetwork` in a search query"));
        }
        if self.personalizes {
            return Some(needs_personalization());
        }
        self.has_media.then(|| {
            ApiError::new(
                Code::MissingSearchHybrid,
                "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
            )
        })
    }
}

impl Options {
    fn read(value: Value, path: &str) -> Result<Self, ApiError> {
        let members = body::object(value, path, Code::BadRequest)?;
        body::only(&members, path, &OPTIONS, Code::BadRequest)?;
        let given = |name: &str| members.get(name).filter(|value| !value.is_null());
        let at = |name: &str| format!("{path}.{name}");
        let weight = match members.get("weight") {
            None => 1.0,
            Some(value) => {
                let code = Code::InvalidMultiSearchWeight;
                let weight = body::number(value, &at("weight"), code)?;
                if weight < 0.0 {
                    let message = format!(
                        "Invalid value at `{}`: the value of `weight` is invalid, expected a positive float (>= 0.0).",
                        at("weight")
                    );
                    return Err(ApiError::new(code, message));
                }
                weight
            }
        };
        if let Some(value) = given("remote") {
            body::text(value, &at("remote"), Code::InvalidMultiSearchRemote)?;
        }
        if let Some(value) = given("queryPosition") {
            let code = Code::InvalidMultiSearchQueryPosition;
            body::count(value, &at("queryPosition"), code)?;
        }
        Ok(Self {
            weight,
            remote: given("remote").is_some(),
            position: given("queryPosition").is_some(),
        })
    }
}

/// Why the query cannot be merged with others, in the order in which Meilisearch looks.
fn federated_refusal(
    index: &IndexUid,
    query: &SearchQuery,
    paged: Option<&str>,
    beside: &Beside,
    federation: &Federation,
) -> Option<ApiError> {
    let refuse = |code, message: String| Some(ApiError::new(code, message));
    if let Some(name) = paged {
        return refuse(
            Code::InvalidMultiSearchQueryPagination,
            format!(
                "Using pagination options is not allowed in federated queries.\n - Hint: remove `{name}` from the query or remove `federation` from the request\n - Hint: pass `federation.limit` and `federation.offset` for pagination in federated search"
            ),
        );
    }
    let facets = query.members().get("facets").and_then(Value::as_array);
    let facets: Vec<&str> = facets
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !facets.is_empty() {
        return refuse(
            Code::InvalidMultiSearchQueryFacets,
            format!(
                "Using facet options is not allowed in federated queries.\n - Hint: remove `facets` from the query or remove `federation` from the request\n - Hint: pass `federation.facetsByIndex.{index}: {facets:?}` for facets in federated search"
            ),
        );
    }
    if beside.personalizes {
        return refuse(
            Code::InvalidMultiSearchQueryPersonalization,
            "Using `.personalize` is not allowed in federated queries.\n - Hint: remove `personalize` from the query or remove `federation` from the request\n - Hint: pass `federation.personalize` for personalization in federated search".to_owned(),
        );
    }
    let remote = beside
        .options
        .as_ref()
        .is_some_and(|options| options.remote);
    if remote && beside.uses_network {
        return refuse(
            Code::InvalidMultiSearchFederationOptions,
            "Using `.useNetwork` is not allowed as the same time as `.federationOptions.remote`.\n  - Hint: to perform an explicit query against a remote, remove `.useNetwork`.\n  - Hint: to automatically perform queries against the entire network, remove `.federationOptions.remote`.".to_owned(),
        );
    }
    if beside.shows_performance {
        return refuse(
            Code::InvalidMultiSearchQueryShowPerformanceDetails,
            "Using `.showPerformanceDetails` is not allowed in federated queries.\n - Hint: remove `showPerformanceDetails` from the query or remove `federation` from the request".to_owned(),
        );
    }
    if query.distinct().is_some() && federation.distinct.is_some() {
        return refuse(
            Code::InvalidMultiSearchDistinct,
            "Using `distinct` options is not allowed in federated queries when it also appears in `.federation.distinct`.\n - Hint: remove `distinct` from the query or remove `federation` from the request\n  - Note: `distinct` at the query level is discouraged in federated search.".to_owned(),
        );
    }
    if let Some(feature) = beside.feature() {
        return Some(feature);
    }
    if remote {
        return Some(needs_network("Performing a remote federated search"));
    }
    let positioned = beside
        .options
        .as_ref()
        .is_some_and(|options| options.position);
    positioned.then(|| needs_network("Using `federationOptions.queryPosition`"))
}

impl Federation {
    fn read(value: Value) -> Result<Self, ApiError> {
        let path = ".federation";
        let mut members = body::object(value, path, Code::BadRequest)?;
        body::only(&members, path, &FEDERATION, Code::BadRequest)?;
        let facets = members.remove("facetsByIndex");
        let merged = members.remove("mergeFacets");
        let given = |name: &str| members.get(name).filter(|value| !value.is_null());
        let at = |name: &str| format!("{path}.{name}");
        let count = |name: &str, value: &Value, code| body::count(value, &at(name), code);
        let limit = match members.get("limit") {
            Some(value) => count("limit", value, Code::InvalidSearchLimit)?,
            None => DEFAULT_LIMIT,
        };
        let offset = match members.get("offset") {
            Some(value) => count("offset", value, Code::InvalidSearchOffset)?,
            None => 0,
        };
        let page = given("page")
            .map(|value| count("page", value, Code::InvalidSearchPage))
            .transpose()?;
        let hits_per_page = given("hitsPerPage")
            .map(|value| count("hitsPerPage", value, Code::InvalidSearchHitsPerPage))
            .transpose()?;
        let distinct = given("distinct")
            .map(|value| body::text(value, &at("distinct"), Code::InvalidSearchDistinct))
            .transpose()?;
        check_attributes("distinct", distinct.as_deref(), Code::InvalidSearchDistinct)?;
        let shows_performance = match members.get("showPerformanceDetails") {
            Some(value) => {
                let code = Code::InvalidSearchShowPerformanceDetails;
                body::flag(value, &at("showPerformanceDetails"), code)?
            }
            None => false,
        };
        if let Some(value) = given("personalize") {
            body::object(
                value.clone(),
                &at("personalize"),
                Code::InvalidSearchPersonalize,
            )?;
            return Err(needs_personalization());
        }
        let pagination = match (page, hits_per_page) {
            (None, None) => Pagination::Offset { offset, limit },
            (page, hits_per_page) => Pagination::Page {
                page: page.unwrap_or(1),
                hits_per_page: hits_per_page.unwrap_or(DEFAULT_LIMIT),
            },
        };
        let merged = merged.filter(|value| !value.is_null());
        Ok(Self {
            pagination,
            facets_by_index: read_facets(facets)?,
            merges_facets: merged.is_some(),
            max_values_per_facet: merged.map(read_merge_facets).transpose()?.flatten(),
            distinct,
            shows_performance,
        })
    }
}

fn read_facets(value: Option<Value>) -> Result<BTreeMap<IndexUid, Option<Vec<String>>>, ApiError> {
    let code = Code::InvalidMultiSearchFacetsByIndex;
    let path = ".federation.facetsByIndex";
    let mut facets = BTreeMap::new();
    let Some(value) = value else {
        return Ok(facets);
    };
    for (uid, names) in body::object(value, path, code)? {
        let index = IndexUid::parse(&uid).map_err(|_| {
            ApiError::new(
                code,
                format!("Invalid value at `{path}`: the key {uid:?} could not be deserialized into the key type `meilisearch_types::index_uid::IndexUid`"),
            )
        })?;
        let names = Some(names).filter(|names| !names.is_null());
        let names = names
            .map(|names| body::texts(&names, &format!("{path}.{uid}"), code))
            .transpose()?;
        check_attributes(
            "facets",
            names.iter().flatten().map(String::as_str),
            Code::InvalidSearchFacets,
        )?;
        facets.insert(index, names);
    }
    Ok(facets)
}

fn read_merge_facets(value: Value) -> Result<Option<usize>, ApiError> {
    let code = Code::InvalidMultiSearchMergeFacets;
    let path = ".federation.mergeFacets";
    let name = "maxValuesPerFacet";
    let members = body::object(value, path, code)?;
    body::only(&members, path, &[name], code)?;
    let max = members.get(name).filter(|value| !value.is_null());
    let max = max
        .map(|value| {
            let code = Code::InvalidMultiSearchMaxValuesPerFacet;
            body::count(value, &format!("{path}.{name}"), code)
        })
        .transpose()?;
    Ok(max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)))
}
