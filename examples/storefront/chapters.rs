//! What the story tells after the stretch without faults: faults, releases of new versions,
//! and repairs of code.

use crate::faults::Fault;
use crate::releases::Release;
use crate::repairs::Repair;

/// A chapter, told by a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chapter {
    Fault(Fault),
    Release(Release),
    Repair(Repair),
}

impl Chapter {
    /// In the order of the story.
    pub(crate) const ALL: [Self; 11] = [
        Self::Fault(Fault::OrdersKilled),
        Self::Fault(Fault::CatalogLeaks),
        Self::Fault(Fault::BadDeployment),
        Self::Fault(Fault::CatalogSlow),
        Self::Fault(Fault::HealerKilled),
        Self::Release(Release::BadVersion),
        Self::Release(Release::GoodVersion),
        Self::Release(Release::HotSwap),
        Self::Repair(Repair::RarePath),
        Self::Repair(Repair::Hiding),
        Self::Fault(Fault::TroublePasses),
    ];

    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Fault(fault) => fault.letter(),
            Self::Release(release) => release.letter(),
            Self::Repair(repair) => repair.letter(),
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.title(),
            Self::Release(release) => release.title(),
            Self::Repair(repair) => repair.title(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_goes_by_the_alphabet() {
        let letters = Chapter::ALL.map(Chapter::letter);
        assert!(letters.is_sorted(), "{letters:?}");
        assert_eq!(letters.first(), Some(&'a'));
    }
}
