//! Embedders of an index, and the vectors of a document as clients see them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::vector::parsed_vectors::ExplicitVectors;
use milli_core::vector::{Embedder, EmbedderOptions, EmbeddingConfig, EmbeddingConfigs};
use milli_core::{Index, InternalError, Object};
use serde_json::Value;

/// Field vectors are posted and answered in.
pub const VECTORS: &str = "_vectors";

/// Embedders by their options: building one may load a model or open connections.
#[derive(Default)]
pub struct EmbedderCache {
    built: Mutex<HashMap<EmbedderOptions, Arc<Embedder>>>,
}

impl EmbedderCache {
    /// Embedders of these configurations, by name.
    pub fn resolve(
        &self,
        configs: Vec<IndexEmbeddingConfig>,
    ) -> milli_core::Result<EmbeddingConfigs> {
        let mut resolved = HashMap::new();
        for IndexEmbeddingConfig { name, config, .. } in configs {
            let EmbeddingConfig {
                embedder_options,
                prompt,
                quantized,
            } = config;
            let prompt = Arc::new(prompt.try_into()?);
            let embedder = self.embedder(embedder_options)?;
            resolved.insert(name, (embedder, prompt, quantized.unwrap_or_default()));
        }
        Ok(EmbeddingConfigs::new(resolved))
    }

    fn embedder(&self, options: EmbedderOptions) -> milli_core::Result<Arc<Embedder>> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(embedder) = built.get(&options) {
            return Ok(embedder.clone());
        }
        let embedder =
            Embedder::new(options.clone(), 0).map_err(milli_core::vector::Error::from)?;
        let embedder = Arc::new(embedder);
        built.insert(options, embedder.clone());
        Ok(embedder)
    }
}

/// Replaces a document's stored `_vectors` by every embedder's vectors of it.
pub fn insert_vectors(
    index: &Index,
    rtxn: &RoTxn<'_>,
    configs: &[IndexEmbeddingConfig],
    docid: u32,
    document: &mut Object,
) -> milli_core::Result<()> {
    let mut vectors = match document.shift_remove(VECTORS) {
        Some(Value::Object(map)) => map,
        _ => Object::default(),
    };
    for (name, embeddings) in index.embeddings(rtxn, docid)? {
        let user_provided = configs
            .iter()
            .find(|config| config.name == name)
            .is_some_and(|config| config.user_provided.contains(docid));
        let explicit = ExplicitVectors {
            embeddings: Some(embeddings.into()),
            regenerate: !user_provided,
        };
        vectors.insert(
            name,
            serde_json::to_value(explicit).map_err(InternalError::SerdeJson)?,
        );
    }
    document.insert(VECTORS.to_owned(), Value::Object(vectors));
    Ok(())
}
