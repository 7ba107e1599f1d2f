// The viewer-request function of the mirror (CloudFront Functions, runtime cloudfront-js-2.0).
// It answers as `mirror serve` does. What is rewritten here is the cache key, so each form of a page has its own.
const crypto = require('crypto');

// sha256 (hex) of each credential that may read, as it stands after "Basic " in a request; none: everybody may.
const READERS = [];

const JSON_PAGE = 'index.v1_json';
const HTML_PAGE = 'index.html';
// In order of preference where qualities are equal: what may be asked for, its page.
const OFFERS = [
  [['application/vnd.pypi.simple.v1+json', 'application/vnd.pypi.simple.latest+json'], JSON_PAGE],
  [['application/vnd.pypi.simple.v1+html', 'application/vnd.pypi.simple.latest+html'], HTML_PAGE],
  [['text/html'], HTML_PAGE]
];
const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
// Of a page for people about a project: there is no other spelling.
const ABOUT = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?\.html$/;
const FILE = /^[A-Za-z0-9](?:[A-Za-z0-9._!-]|%2B|%21)*$/;

function handler(event) {
  const request = event.request;
  if (READERS.length) {
    if (!mayRead(request.headers)) {
      return answer(401, 'Unauthorized', 'www-authenticate', 'Basic realm="mirror", charset="UTF-8"');
    }
    // It was for us; the origin is spoken to with the distribution's own signature.
    delete request.headers.authorization;
  }
  const path = request.uri.split('/');
  if (path[0] !== '' || path.length < 2) {
    return missing();
  }
  if (path.length === 2) {
    return top(request, path[1]);
  }
  if (path[1] === 'packages' && path.length === 3) {
    return artifact(request, path[2]);
  }
  if (path[1] === 'projects' && path.length === 3) {
    return ABOUT.test(path[2]) ? request : missing();
  }
  if (path[1] === 'simple' && path.length === 3) {
    return list(request, path[2]);
  }
  if (path[1] === 'simple' && path.length === 4) {
    return project(request, path[2], path[3]);
  }
  return missing();
}

function top(request, name) {
  if (name === '') {
    request.uri = '/' + HTML_PAGE;
    return request;
  }
  // No redirect to "/": a distribution may put its default root object there before it asks us.
  if (name === HTML_PAGE) {
    return request;
  }
  return name === 'simple' ? moved('/simple/') : missing();
}

function list(request, name) {
  if (name === '') {
    request.uri = '/simple/' + negotiated(request.headers);
    return request;
  }
  if (name === HTML_PAGE) {
    return moved('/simple/');
  }
  if (name === JSON_PAGE) {
    return request;
  }
  return NAME.test(name) ? moved('/simple/' + normalized(name) + '/') : missing();
}

function project(request, name, page) {
  if (!NAME.test(name) || (page !== '' && page !== HTML_PAGE && page !== JSON_PAGE)) {
    return missing();
  }
  const folder = '/simple/' + normalized(name) + '/';
  if (page === HTML_PAGE || name !== normalized(name)) {
    return moved(page === JSON_PAGE ? folder + JSON_PAGE : folder);
  }
  if (page === '') {
    request.uri = folder + negotiated(request.headers);
  }
  return request;
}

function artifact(request, name) {
  // The origin reads a bare plus as a space, and there is to be one spelling for the cache.
  const file = name.replace(/\+/g, '%2B').replace(/%2b/g, '%2B');
  if (!FILE.test(file) || file.indexOf('..') >= 0) {
    return missing();
  }
  request.uri = '/packages/' + file;
  return request;
}

// PEP 503: runs of "-", "_" and "." are one "-", letters are lower case.
function normalized(name) {
  return name.replace(/[-_.]+/g, '-').toLowerCase();
}

// RFC 9110, 12.5.1: the highest quality wins, then what is named over what a wildcard covers, then JSON; HTML is
// for everybody who does not care (PEP 691), and for those who accept nothing that there is.
function negotiated(headers) {
  const ranges = accepted(headers.accept);
  let best = null;
  let page = HTML_PAGE;
  OFFERS.forEach(function (offer) {
    const found = rank(ranges, offer[0]);
    if (found[0] <= 0) {
      return;
    }
    const same = best !== null && found[0] === best[0] && found[1] === best[1];
    const more = best === null || found[0] > best[0] || (found[0] === best[0] && found[1] > best[1]);
    if (more || (same && found[1] < 2)) {
      best = found;
      page = offer[1];
    }
  });
  return page;
}

function accepted(header) {
  let text = header ? header.value : '';
  if (header && header.multiValue) {
    text = header.multiValue.map(function (one) { return one.value; }).join(',');
  }
  const ranges = {};
  (text || '*/*').split(',').forEach(function (part) {
    const pieces = part.split(';').map(function (piece) { return piece.trim().toLowerCase(); });
    const stated = pieces.slice(1).filter(function (piece) { return piece.indexOf('q=') === 0; });
    const quality = stated.length ? stated[0].slice(2) : '1';
    if (pieces[0] && /^[01](\.[0-9]{0,3})?$/.test(quality)) {
      ranges[pieces[0]] = Math.min(parseFloat(quality), 1);
    }
  });
  return ranges;
}

function rank(ranges, types) {
  const named = types.filter(function (type) { return ranges[type] !== undefined; });
  if (named.length) {
    return [Math.max.apply(null, named.map(function (type) { return ranges[type]; })), 2];
  }
  const half = types[0].split('/')[0] + '/*';
  if (ranges[half] !== undefined) {
    return [ranges[half], 1];
  }
  return ranges['*/*'] !== undefined ? [ranges['*/*'], 0] : [0, 0];
}

function mayRead(headers) {
  const stated = headers.authorization ? headers.authorization.value : '';
  const match = /^basic +(\S+)$/i.exec(stated);
  if (!match) {
    return false;
  }
  return READERS.indexOf(crypto.createHash('sha256').update(match[1]).digest('hex')) >= 0;
}

function moved(location) {
  return { statusCode: 301, statusDescription: 'Moved Permanently', headers: {
    'location': { value: location }, 'cache-control': { value: 'max-age=600' }
  } };
}

function missing() {
  return answer(404, 'Not Found', 'x-content-type-options', 'nosniff');
}

function answer(status, description, name, value) {
  const headers = { 'cache-control': { value: 'no-store' } };
  headers[name] = { value: value };
  return { statusCode: status, statusDescription: description, headers: headers };
}
