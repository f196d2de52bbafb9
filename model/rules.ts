/** The rules of the protocol, each by what is done instead of it. */
export const BREAKS = {
  // acknowledging
  ackWhenCut: 'acknowledges what is cut, before ClickHouse has it',
  ackWhenAnswered: 'acknowledges what ClickHouse has answered, before the ledger says so',
  ackPastEnd: 'acknowledges one LSN too many',
  ackLimitAfter: 'acknowledges first and writes `acked` afterwards',
  noAckLimit: 'does not compare confirmed_flush with `acked`',
  takeKeepsAckLimit: 'keeps the `acked` of the old timeline',
  idleAckWhileBuffered: 'follows keepalives with events in the buffer',
  ackPastQuarantine: 'acknowledges a quarantined row before the stream has passed its WAL',
  holdForgotten: 'a new session acknowledges although the stream has not passed the WAL of a quarantined row',
  // the ledger
  settleEarly: 'an intent settles itself',
  noIntent: 'inserts without an intent',
  cutAnew: 'forgets the pending insert and cuts a new range',
  cutByLimits: 'cuts the pending range by its own limits, under the recorded token',
  noEpochCheckOnIntent: 'writes an intent under a lost epoch',
  noEpochCheckOnSettle: 'settles under a lost epoch',
  noCompare: 'does not compare the row with what was last written',
  sameEpochAfterLostWrite: 'goes on under the same epoch when a write has no answer',
  lazyLedger: 'a crash of Postgres may undo the last write (synchronous_commit = off)',
  readBeforeTake: 'reads the row before it takes the epoch',
  keepMemory: 'keeps its memory over a lost connection',
  // shares
  endUnfenced: '`reshard` ends a ledger and leaves it its epoch',
  ackPastShare: 'acknowledges beyond the end of its ledger',
  // detaching, and the repair after it
  detachUnfenced: '`detach` does not take the epoch',
  repairUnwaited: 'a repair compares while an older attempt may be under way',
  // tokens
  newTokenOnRetry: 'a repeated insert gets a new token',
  rangeToken: 'a token is made of the range alone',
  noDeadline: 'an attempt may be sent however old the proof of the epoch is',
  longInserts: 'an attempt may live longer than tokens are trusted',
  trustForEver: 'a token is trusted for ever',
  noWindow: 'the table remembers no tokens',
  doubtInMemory: 'a window that was off is remembered by the session alone',
  replacedUnseen: 'does not look whether another table has the name',
  // reading back
  noReadBack: 'reads nothing back on a new timeline',
  readBackUnwaited: 'reads back while an older attempt may be under way',
  readBackOnceAttached: 'a session does not notice that its own batch grows old',
  noDistrust: 'does not look for rows that the ledger does not know of',
  distrustByReach: 'rows inside the range of the pending insert are never strange',
  quickRestore: 'a snapshot is restored while old inserts are under way',
  sameTokenAgain: 'sends what is not there under the token that ClickHouse may know',
  // replicas
  lookUpBehind: 'asks a replica that has not fetched what the others took',
  lookUpUnchecked: 'asks a replica that shows parts which Keeper may not know',
  settleUncounted: 'takes a token that is known already for the rows, after an unknown outcome',
  retryUncounted: '`quarantine retry` deletes a row whose insert is answered, without looking',
  lookUpUnheld: 'with a quorum, finds rows that only the replica has which took them',
  // views
  viewsTrusted: 'a failed view gets the same insert again, without a proof that its token is still remembered',
  viewsUnsaid: 'does not say that a view is not proven',
  viewsUncounted: "counts the blocks of the table alone, not of the views' targets",
  // splitting and quarantine
  splitUnwaited: 'splits while an older attempt may be under way',
  splitInMemory: 'splits without writing the smaller intent',
  splitAlthoughThere: 'splits although rows of the refused insert are there',
  splitOnlyIfRangeAbsent: 'splits only when nothing of the range is there, also where a read-back has found some of it',
  splitForgetsReadBack: 'parts of an insert that a read-back found in part are not read back',
  quarantineInTwo: 'sets the row aside in one statement and passes it in another',
  quarantineHeavy: 'sets a row aside as soon as there is no memory for it',
  repeatHeavyForEver: 'repeats a row for ever that is too large alone',
  quarantineUnwitnessed: 'sets a row aside although the table has taken no other since',
  aheadUnsaid: 'sends an event before its turn, and does not write that it must be looked for',
  aheadForgotten: 'takes back that an event must be looked for before its attempt is answered',
  aheadUnwaited: 'chooses an event to send ahead while an older attempt at one may be under way',
  // quarantine retry
  retryAnyToken: 'each call of `quarantine retry` has a new token',
  retryDeletesFirst: '`quarantine retry` deletes the row before it is delivered',
  retryBlindly: '`quarantine retry` inserts without looking first',
} as const;

export type Broken = keyof typeof BREAKS;
