import { useEffect, useState } from 'preact/hooks';

/** Where the reader is: `#/events?type=…`. */
export interface Place {
  readonly page: string;
  readonly query: URLSearchParams;
}

function current(): Place {
  const [page = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return { page: page || 'flow', query: new URLSearchParams(query) };
}

export function usePlace(): Place {
  const [place, setPlace] = useState(current);
  useEffect(() => {
    const onChange = (): void => setPlace(current());
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return place;
}

/** What is empty is left out. */
export function to(page: string, query: Readonly<Record<string, string | undefined>> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => (entry[1] ?? '') !== '');
  const text = new URLSearchParams(given).toString();
  return `#/${page}${text === '' ? '' : `?${text}`}`;
}

export function go(page: string, query: Readonly<Record<string, string | undefined>> = {}): void {
  location.hash = to(page, query);
}
