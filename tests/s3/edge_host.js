// What CloudFront does around the function, in njs: the event, the cache key, and the signature of OAC.
// `EDGE` is written above this by tests/s3/edge.py: what the template says, and how the bucket is reached.

function viewer(r) {
  if (EDGE.methods.indexOf(r.method) < 0) {
    r.return(403);
    return;
  }
  const path = r.variables.request_uri.split('?')[0];
  // The default root object stands for "/" before the function is asked: so nothing it answers may lead back there.
  const answer = handler(event(r, path === '/' ? '/' + EDGE.root : path));
  if (answer.statusCode) {
    // nginx takes what follows the status of a redirect for its place.
    Object.keys(answer.headers).forEach(function (name) {
      if (name !== 'location') {
        r.headersOut[name] = answer.headers[name].value;
      }
    });
    r.return(answer.statusCode, answer.headers.location ? answer.headers.location.value : '');
    return;
  }
  r.variables.target = '/' + EDGE.bucket + answer.uri;
  r.variables.date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  r.variables.signature = signature(r.variables.target, r.variables.date);
  // The behavior is chosen by what the viewer asked for, before the function had its say.
  const found = EDGE.behaviors.filter(function (prefix) { return path.indexOf(prefix) === 0; });
  const chosen = found.length ? EDGE.behaviors.indexOf(found[0]) : EDGE.behaviors.length;
  // What is part of the key reaches the bucket, and nothing else does.
  r.variables.origin = EDGE.keyed[chosen] ? r.headersIn.Origin || '' : '';
  r.variables.key = answer.uri + '#' + generation(answer.uri) + r.variables.origin;
  r.internalRedirect('/behavior-' + (found.length ? chosen : 'default'));
}

function event(r, path) {
  const headers = {};
  Object.keys(r.headersIn).forEach(function (name) { headers[name.toLowerCase()] = { value: r.headersIn[name] }; });
  return {
    version: '1.0', context: { eventType: 'viewer-request' }, viewer: { ip: r.remoteAddress },
    request: { method: r.method, uri: path, querystring: {}, headers: headers, cookies: {} }
  };
}

// How many invalidations cover a path. It is part of the cache key, so that an answer that was asked for before an
// invalidation, and comes after it, is not taken for a new one.
function generation(path) {
  const forgotten = require('fs').readFileSync(EDGE.forgotten, 'utf8').split('\n');
  return forgotten.filter(function (one) {
    return one.slice(-1) === '*' ? path.indexOf(one.slice(0, -1)) === 0 : one === path;
  }).length;
}

function signature(path, date) {
  const scope = date.slice(0, 8) + '/' + EDGE.region + '/s3/aws4_request';
  const signed = 'host;x-amz-content-sha256;x-amz-date';
  const asked = ['GET', canonical(path), '', 'host:' + EDGE.origin, 'x-amz-content-sha256:' + EDGE.nothing,
    'x-amz-date:' + date, '', signed, EDGE.nothing].join('\n');
  const key = scope.split('/').reduce(function (made, part) { return hmac(made, part).digest(); }, 'AWS4' + EDGE.secret);
  const text = ['AWS4-HMAC-SHA256', date, scope, crypto.createHash('sha256').update(asked).digest('hex')].join('\n');
  return 'AWS4-HMAC-SHA256 Credential=' + EDGE.access + '/' + scope + ', SignedHeaders=' + signed + ', Signature=' +
    hmac(key, text).digest('hex');
}

// Everything but letters, digits and -._~ is quoted in what is signed, whatever is quoted in what is sent.
function canonical(path) {
  return path.split('/').map(function (part) {
    return encodeURIComponent(decodeURIComponent(part)).replace(/[!'()*]/g, function (sign) {
      return '%' + sign.charCodeAt(0).toString(16).toUpperCase();
    });
  }).join('/');
}

function hmac(key, text) {
  return crypto.createHmac('sha256', key).update(text);
}

export default { viewer };
