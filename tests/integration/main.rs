//! The integration tests: real servers, the real binary, the public way in.

mod storage_contract;
