-- Tries: to spin while it is being loaded.
-- Expect: not loaded: ran past limits.deadline and limits.grace
-- Limits: deadline=300ms grace=100ms
while true do end
