/** Names for the data centers of a lab, so that pages and configuration files read like a real one's. */
type Place = { readonly place: string; readonly faultDomain: string };

const known: Readonly<Record<string, Place>> = {
  ny: { place: 'New York', faultDomain: 'us-east' },
  la: { place: 'Los Angeles', faultDomain: 'us-west' },
  sf: { place: 'San Francisco', faultDomain: 'us-west' },
  chi: { place: 'Chicago', faultDomain: 'us-central' },
  fra: { place: 'Frankfurt', faultDomain: 'eu-central' },
  lon: { place: 'London', faultDomain: 'eu-west' },
  ams: { place: 'Amsterdam', faultDomain: 'eu-west' },
  par: { place: 'Paris', faultDomain: 'eu-west' },
  sto: { place: 'Stockholm', faultDomain: 'eu-north' },
  sin: { place: 'Singapore', faultDomain: 'ap-southeast' },
  syd: { place: 'Sydney', faultDomain: 'ap-southeast' },
  tok: { place: 'Tokyo', faultDomain: 'ap-northeast' },
};

export function placeOf(name: string): Place {
  return known[name] ?? { place: name, faultDomain: `region-${name}` };
}
