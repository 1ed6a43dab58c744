//! Placeholder for posthaste-derive.
