-- Tries: to leave its folder at load.
-- Expect: not loaded: module 'trap_linked' cannot be loaded
require "trap_linked"
