-- Arrays nested more than 100 deep are not typed, as nothing is that the JSON type refuses: inserts of them, and merges,
-- would fail for ever, or take seconds for a single event. Their text is kept all the same.
ALTER TABLE {table:Identifier}
    MODIFY COLUMN event_context DEFAULT JSONExtract(
        if(
            countSubstrings(event_context_text, '[') <= 100
            OR arrayMax(arrayCumSum(arrayMap(
                bracket -> multiIf(bracket = '[', 1, bracket = ']', -1, 0),
                extractAll(event_context_text, '"(?:[^"\\\\]|\\\\.)*"|[\\[\\]]')))) <= 100,
            event_context_text,
            '{}'),
        'JSON(max_dynamic_paths = 128)')
