// Genres along a song, from the overlapping windows of its analysis.

// Stretches of equal genre. A moment belongs to the window whose middle is nearest.
export function stretchesOf(windows, seconds) {
  if (!windows.length) return [{ label: null, start: 0, end: seconds, share: null }];
  const middles = windows.map(({ start_s, end_s }) => (start_s + end_s) / 2);
  const stretches = [];
  windows.forEach(({ label, probabilities }, i) => {
    const start = i ? (middles[i - 1] + middles[i]) / 2 : 0;
    const end = i + 1 < windows.length ? (middles[i] + middles[i + 1]) / 2 : seconds;
    const share = label === null ? null : Math.max(...Object.values(probabilities));
    const last = stretches.at(-1);
    if (last && last.label === label) {
      last.end = end;
      last.shares.push(share);
    } else {
      stretches.push({ label, start, end, shares: [share] });
    }
  });
  return stretches.map(({ shares, ...rest }) => ({ ...rest, share: rest.label === null ? null : mean(shares) }));
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export function stretchAt(stretches, seconds) {
  return stretches.find(({ end }) => seconds < end) ?? stretches.at(-1);
}

// Genres with the share of the song that is theirs, most first.
export function sharesOf(stretches, seconds) {
  const total = new Map();
  for (const { label, start, end } of stretches) total.set(label, (total.get(label) ?? 0) + end - start);
  return [...total].map(([label, length]) => ({ label, share: length / seconds })).sort((a, b) => b.share - a.share);
}
