//! Every limit in one place, each with what happens when it is reached.

/// Longest payload of one job, in bytes. Longer: refused as `payload-too-large`.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Longest result or error text kept of one attempt, in bytes. A longer result is refused, a
/// longer error text is cut.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Longest progress of a heartbeat, in bytes. Longer: refused as `too-large`.
pub const PROGRESS_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of progress kept in memory. Beyond, what was reported longest ago is forgotten; the
/// heartbeats count.
pub const PROGRESS_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Deepest nesting of a JSON payload. Deeper: refused as `payload-too-deep`.
pub const JSON_DEPTH_MAX: usize = 64;
/// Longest name of a queue, a kind, a worker, or a tag, in bytes. Longer: refused as `invalid`.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest idempotency or unique key, in bytes. Longer: refused as `invalid`.
pub const KEY_BYTES_MAX: usize = 255;
/// Most tags of one job.
pub const TAGS_MAX: usize = 16;
/// Most metadata entries of one job.
pub const METADATA_MAX: usize = 32;
/// Longest metadata value, in bytes.
pub const METADATA_VALUE_BYTES_MAX: usize = 1024;
/// Most commands in one commit. More: refused as `too-many`.
pub const COMMANDS_PER_COMMIT_MAX: usize = 1_000;
/// Most bytes of one commit, payloads included. More: refused as `too-large`.
pub const COMMIT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most jobs of one lease.
pub const LEASE_JOBS_MAX: u32 = 1_000;
/// Most bytes of the jobs of one lease, payloads included. Beyond, fewer jobs are handed out, one at
/// least.
pub const LEASE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most queues named by one lease.
pub const LEASE_QUEUES_MAX: usize = 64;
/// Most kinds named by one lease.
pub const LEASE_KINDS_MAX: usize = 1_024;
/// Longest wait of a lease or a tail, in milliseconds. Longer waits are cut to it.
pub const WAIT_MS_MAX: u32 = 60_000;
/// Most who wait for work at once, and most who wait for the end of a job at once. More: refused as
/// `busy`, retryable.
pub const WAITS_MAX: usize = 20_000;
/// Most bytes of the leases that wait for work at once, the names of their queues and kinds
/// included. More: refused as `busy`, retryable.
pub const WAITING_LEASES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Shortest lease, in milliseconds.
pub const LEASE_MS_MIN: u32 = 100;
/// Longest lease, in milliseconds (one hour). Work that takes longer sends heartbeats.
pub const LEASE_MS_MAX: u32 = 3_600_000;
/// A lease where none is asked for, in milliseconds.
pub const LEASE_MS_DEFAULT: u32 = 30_000;
/// Furthest a job can be delayed, in milliseconds (ten years of 366 days).
pub const DELAY_MS_MAX: u64 = 10 * 366 * 24 * 3_600_000;
/// Attempts of a job where none are asked for.
pub const ATTEMPTS_DEFAULT: u16 = 25;
/// Most attempts of a job.
pub const ATTEMPTS_MAX: u16 = 1_000;
/// Time one attempt may take where none is asked for, in milliseconds (15 minutes).
pub const ATTEMPT_TIMEOUT_MS_DEFAULT: u32 = 15 * 60_000;
/// Longest time one attempt may take, in milliseconds (7 days).
pub const ATTEMPT_TIMEOUT_MS_MAX: u32 = 7 * 24 * 3_600_000;
/// Leases of one job that may lapse in a row before it is dead as `poison`.
pub const CRASHES_MAX: u8 = 5;
/// How long an idempotency key is remembered, in milliseconds (24 hours).
pub const KEY_WINDOW_MS: u64 = 24 * 3_600_000;
/// Most idempotency keys remembered at once. More: refused as `keys-full`, retryable.
pub const KEYS_MAX: usize = 10_000_000;
/// How long an applied settle is remembered, in milliseconds (ten minutes).
pub const SETTLE_MEMORY_MS: u64 = 10 * 60_000;
/// Most applied settles remembered. The oldest are forgotten first.
pub const SETTLE_MEMORY_MAX: u64 = 10_000_000;
/// How long a completed or cancelled job is kept where nothing else is said, in milliseconds
/// (24 hours).
pub const COMPLETED_KEPT_MS: u64 = 24 * 3_600_000;
/// Most completed and cancelled jobs kept where nothing else is said. The oldest are forgotten
/// first.
pub const COMPLETED_KEPT_MAX: u32 = 100_000;
/// How long a dead job is kept where nothing else is said, in milliseconds (90 days).
pub const DEAD_KEPT_MS: u64 = 90 * 24 * 3_600_000;
/// Most dead jobs kept where nothing else is said. The oldest are forgotten first.
pub const DEAD_KEPT_MAX: u32 = 1_000_000;
/// Shortest time for which what has ended can be kept, in milliseconds: who waits for a job's result
/// must find it. Less: refused as `invalid`.
pub const KEPT_MS_MIN: u64 = 1_000;
/// Fewest ended jobs that can be kept: those of one commit. Less: refused as `invalid`.
pub const KEPT_MIN: u32 = 1_000;
/// One step of priority in waiting time, in milliseconds: a job of priority p is served as if it
/// had been ready p steps earlier.
pub const PRIORITY_STEP_MS: u64 = 60_000;
/// How long a payload that no worker can read is offered before it is dead, in milliseconds.
pub const UNDECODABLE_GRACE_MS: u64 = 3_600_000;
/// Most queues of one store.
pub const QUEUES_MAX: usize = 10_000;
/// Most (queue, kind, priority) lanes of one store.
pub const LANES_MAX: usize = 100_000;
/// Most leases held at once.
pub const LEASES_MAX: usize = 1_000_000;
/// Most jobs of one store, in every state together.
pub const JOBS_MAX: usize = 200_000_000;
/// Most jobs of one page of a listing.
pub const PAGE_MAX: u32 = 1_000;
/// Most bytes of the jobs of one page, payloads and results included. Beyond, the page is shorter,
/// one job at least, and tells where to go on.
pub const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most entries one page of a listing examines before it answers with what it has.
pub const PAGE_EXAMINED_MAX: u32 = 10_000;
/// Largest token: below 2⁵³, so that it is exact as a JSON number.
pub const TOKEN_MAX: u64 = (1 << 53) - 1;
/// Tokens that are passed over when a store is opened that was not closed in order: more than can
/// have been handed out within the minute that a lease stays unsynced at most. The largest token is
/// reached after sixty million such openings.
pub const TOKENS_PASSED: u64 = 1 << 27;
/// When to try again where the store is full of jobs, keys or names, in milliseconds.
pub const FULL_RETRY_MS: u64 = 10_000;

/// Longest payload of one event, in bytes. Longer: refused as `payload-too-large`.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest id, type, source or key of an event, in bytes. Longer: refused as `invalid`.
pub const EVENT_TEXT_BYTES_MAX: usize = 255;
/// Who tells an event, where its publisher does not say.
pub const EVENT_SOURCE_DEFAULT: &str = "posthaste";
/// Most headers of one event. More: refused as `invalid`.
pub const HEADERS_MAX: usize = 32;
/// Longest value of a header of an event, in bytes. Longer: refused as `invalid`.
pub const HEADER_BYTES_MAX: usize = 1024;
/// Most events of one commit, over all of its commands. More: refused as `too-large`.
pub const EVENTS_PER_COMMIT_MAX: usize = 1_000;
/// How long a published event is remembered by its source and id where its publisher chose the id,
/// in milliseconds (ten minutes).
pub const EVENT_MEMORY_MS: u64 = 10 * 60_000;
/// Most events remembered by source and id. The oldest are forgotten first.
pub const EVENT_MEMORY_MAX: u64 = 4_000_000;
/// Most topics of one store. More: refused as `busy`.
pub const TOPICS_MAX: usize = 10_000;
/// Partitions of a topic where none are asked for.
pub const PARTITIONS_DEFAULT: u16 = 4;
/// Most partitions of a topic. More: refused as `invalid`.
pub const PARTITIONS_MAX: u16 = 256;
/// How long events are kept where nothing else is said, in milliseconds (7 days).
pub const EVENTS_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// How many bytes of a topic's events are kept where nothing else is said (10 GiB).
pub const EVENTS_KEPT_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// How long compaction keeps a tombstone where nothing else is said, in milliseconds (24 hours).
pub const TOMBSTONES_KEPT_MS: u64 = 24 * 3_600_000;
/// Events of one read where none are asked for.
pub const READ_EVENTS_DEFAULT: u32 = 1_000;
/// Most events of one read. More: refused as `invalid`.
pub const READ_EVENTS_MAX: u32 = 10_000;
/// Most bytes of the events of one read. Beyond, fewer are told, one at least.
pub const READ_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most events that one read examines where it filters, before it answers with what it has.
pub const READ_EXAMINED_MAX: u32 = 100_000;
/// Most types, and most keys, that one read filters by. More: refused as `invalid`.
pub const READ_FILTERS_MAX: usize = 64;
/// Longest line of an import of events, in bytes: a payload of its greatest length, each byte of it
/// escaped. Longer: refused as `too-large`.
pub const IMPORT_LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most consumer groups of one store, over all topics. More: refused as `busy`.
pub const GROUPS_MAX: usize = 10_000;
/// Most members of one group at once. More: refused as `busy`.
pub const MEMBERS_MAX: usize = 10_000;
/// Events of a group in the hands of members at once, where nothing else is said.
pub const IN_FLIGHT_DEFAULT: u32 = 1_000;
/// Most events of a group in the hands of members at once. More: refused as `invalid`.
pub const IN_FLIGHT_MAX: u32 = 10_000;
/// Most unfinished events of a group behind its head, in hands or waiting behind their keys.
/// Beyond, no further ones are looked at until some are finished.
pub const UNFINISHED_MAX: usize = 20_000;
/// Most events of one key in the hands of one member at once, so that a busy key leaves room for
/// the others.
pub const KEY_RUN_MAX: u32 = 64;
/// Most upcoming events that a group keeps in memory.
pub const EVENTS_AHEAD_MAX: usize = 4_096;
/// Most upcoming events that one claim looks at, beside those it hands out.
pub const EVENTS_PASSED_MAX: usize = 256;
/// Most events that one lease hands out. More: refused as `invalid`.
pub const LEASE_EVENTS_MAX: u32 = 1_000;
/// Most events that one commit settles, over all of its commands. More: refused as `too-large`.
pub const SETTLED_EVENTS_MAX: usize = 1_000;
/// Parked events of a group where nothing else is said.
pub const PARKED_DEFAULT: u32 = 1_000;
/// Most parked events of a group. More: refused as `invalid`.
pub const PARKED_MAX: u32 = 10_000;
/// How long it is waited before an event that could not be read or copied, to be kept, is tried again,
/// in milliseconds.
pub const KEEP_AGAIN_MS: u64 = 1_000;
/// Most dead letters of a group. Those that have been there longest are forgotten first.
pub const DEAD_LETTERS_MAX: usize = 10_000;
/// Most parked events or dead letters that one command moves. It tells how many are left.
pub const MOVED_EVENTS_MAX: usize = 500;
/// Most groups whose first unfinished event one answer to `/metrics` looks up, those that are
/// furthest behind first. For the others it does not say how long that has waited.
pub const LAG_READS_MAX: usize = 256;
/// Most workers that a plan of a queue's capacity goes to. Where more were needed it is refused as
/// `invalid`.
pub const PLAN_WORKERS_MAX: u32 = 100_000;
/// How far back the measured pace of a queue reaches, in milliseconds: what is older counts less
/// than a third (e to the power of −1), and ever less.
pub const PACE_MS: u64 = 300_000;
