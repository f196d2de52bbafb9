import type { JSX } from 'preact';

/* oxlint-disable no-control-regex -- they are what this file is about */
/** What would turn the direction of a text, or is not seen: shown as what it is. */
const HIDDEN =
  /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb])/;

/** A text that somebody else wrote, as it is: it changes neither the text around it nor its direction. */
export function Text({ of }: { of: string }): JSX.Element {
  const parts = of.split(HIDDEN);
  return (
    <bdi dir="ltr">
      {parts.length === 1
        ? of
        : parts.map((part, index) => (index % 2 === 1 ? <Hidden key={index} character={part} /> : part))}
    </bdi>
  );
}

function Hidden({ character }: { character: string }): JSX.Element {
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return <span class="hidden-character">U+{code}</span>;
}
