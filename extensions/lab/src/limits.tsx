/** What is left of each quota, as words and as bars. */

import * as React from "react";

import { type Words } from "./format";
import type { Account, Limit, Quota } from "./routes";
import { accountName, limitAmount, limitName, resets } from "./wording";

interface Props {
  readonly quota: Quota;
  /** The account that pays for this lease comes first. */
  readonly paying: string | null;
  readonly now: number;
  readonly words: Words;
}

export function Limits({ quota, paying, now, words }: Props): React.JSX.Element {
  const accounts = [...quota.accounts].sort((a, b) => Number(b.subject === paying) - Number(a.subject === paying));
  if (accounts.length === 0) return <p className="sublet-soft">{words.__("No account of yours has a quota.")}</p>;
  return (
    <>
      {accounts.map(account => (
        <AccountLimits key={account.subject} {...{ account, quota, now, words }} one={accounts.length === 1} />
      ))}
    </>
  );
}

function AccountLimits(props: { account: Account; quota: Quota; now: number; words: Words; one: boolean }) {
  const { account, quota, now, words, one } = props;
  return (
    <div className="sublet-Account">
      {!one && <h4>{accountName(account.subject, words)}</h4>}
      {account.limits.length === 0 && <p className="sublet-soft">{words.__("Nothing is limited.")}</p>}
      {account.limits.map(limit => (
        <OneLimit
          key={`${limit.what} ${limit.window} ${limit.flavor}`}
          {...{ limit, now, words }}
          currency={quota.currency}
        />
      ))}
    </div>
  );
}

function OneLimit(props: { limit: Limit; currency: string; now: number; words: Words }): React.JSX.Element {
  const { limit, currency, now, words } = props;
  const name = limitName(limit, words);
  const amount = (value: number) => limitAmount(limit.what, value, currency, words);
  if (limit.what === "lease_seconds") {
    return (
      <div className="sublet-Limit">
        <div className="sublet-Limit-head">
          <span>{name}</span>
          <strong>{words.__("up to %1", amount(limit.limit))}</strong>
        </div>
      </div>
    );
  }
  const share = (value: number) => (limit.limit > 0 ? Math.min(1, Math.max(0, value / limit.limit)) : 1);
  const used = share(limit.used);
  const held = Math.min(1 - used, limit.limit > 0 ? share(limit.held) : 0);
  const near = limit.left <= 0 ? "urgent" : limit.window && share(limit.left) < 0.1 ? "warn" : "calm";
  const left = limit.left <= 0 ? words.__("nothing left") : words.__("%1 left", amount(limit.left));
  const heldText = limit.held > 0 ? words.__(", %1 held", amount(limit.held)) : "";
  return (
    <div className="sublet-Limit" data-near={near}>
      <div className="sublet-Limit-head">
        <span>{name}</span>
        <strong>{left}</strong>
      </div>
      <div
        className="sublet-Bar"
        role="img"
        aria-label={words.__("%1: %2 of %3 left", name, amount(limit.left), amount(limit.limit))}
      >
        <i data-part="used" style={{ width: `${100 * used}%` }} />
        <i data-part="held" style={{ width: `${100 * held}%` }} />
      </div>
      <div className="sublet-Limit-foot sublet-soft">
        <span>{words.__("%1 of %2 used", amount(limit.used), amount(limit.limit)) + heldText}</span>
        <span>{resets(limit, now, words)}</span>
      </div>
    </div>
  );
}
