//! What can go wrong inside a transaction, and what the caller is told.

use std::path::Path;

use homeostasis_core::port::StoreError;

/// Why one request inside a transaction did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request is refused; the transaction is unharmed.
    Refused(StoreError),
    /// The transaction is broken, with everybody in it.
    Broken(redb::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

macro_rules! broken {
    ($($error:ty),*) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::Broken(error.into())
                }
            }
        )*
    };
}

broken!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// What the caller is told of a failure of the file at `path` while doing `what`.
pub(crate) fn store_error(path: &Path, what: &str, error: &redb::Error) -> StoreError {
    let path = path.display();
    // redb's errors hide no source: their text is complete.
    let source = error.to_string().into();
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TableDoesNotExist(_) => StoreError::Corrupt {
            path: path.to_string(),
            place: format!("a page needed for {what}"),
            source: Some(source),
        },
        _ => StoreError::Io {
            what: format!("{what} in {path}"),
            source,
        },
    }
}
