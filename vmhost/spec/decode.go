package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode fills v from raw and notes every problem with its path. A null is as
// good as an absent field.
func (p *Problems) decode(path string, raw json.RawMessage, v reflect.Value) {
	if string(raw) == "null" {
		return
	}
	switch {
	case v.Addr().Type().Implements(unmarshaler):
		p.leaf(path, raw, v)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		p.decode(path, raw, v.Elem())
	case v.Kind() == reflect.Struct:
		p.object(path, raw, v)
	case v.Kind() == reflect.Slice:
		p.list(path, raw, v)
	default:
		p.leaf(path, raw, v)
	}
}

func (p *Problems) object(path string, raw json.RawMessage, v reflect.Value) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		p.add(path, "want fields with values, have %s", kind(raw))
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for dec.More() {
		key, value, err := member(dec)
		if err != nil {
			p.add(path, "%v", err)
			return
		}
		at := join(path, key)
		index, known := fields[key]
		switch {
		case !known:
			p.add(at, "unknown field%s", suggest(key, fields))
		case seen[key]:
			p.add(at, "field given twice")
		default:
			p.decode(at, value, v.Field(index))
		}
		seen[key] = true
	}
}

func (p *Problems) list(path string, raw json.RawMessage, v reflect.Value) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		p.add(path, "want a list, have %s", kind(raw))
		return
	}
	if len(items) == 0 {
		return // nil, as an absent field leaves it
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if string(item) == "null" {
			p.add(at, "empty entry")
			continue
		}
		p.decode(at, item, v.Index(i))
	}
}

func (p *Problems) leaf(path string, raw json.RawMessage, v reflect.Value) {
	err := json.Unmarshal(raw, v.Addr().Interface())
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
	case !errors.As(err, &wrongType):
		p.add(path, "%v", err)
	case v.Kind() == reflect.String && raw[0] != '{' && raw[0] != '[':
		p.add(path, "want text, have %s %s: put it in quotes", kind(raw), raw)
	case v.CanInt() || v.CanUint():
		p.add(path, "want a whole number in the range of %s, have %s", v.Type(), clip(raw))
	default:
		p.add(path, "want %s, have %s", v.Kind(), kind(raw))
	}
}

func member(dec *json.Decoder) (string, json.RawMessage, error) {
	t, err := dec.Token()
	if err != nil {
		return "", nil, err
	}
	key, ok := t.(string)
	if !ok {
		return "", nil, fmt.Errorf("want a field name, have %v", t)
	}
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil && err != io.EOF {
		return "", nil, err
	}
	return key, value, nil
}

// fieldsOf maps the json names of t's fields to their indices.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = i
		}
	}
	return fields
}

// suggest helps with the commonest slips: case, plural and underscores.
func suggest(key string, fields map[string]int) string {
	plain := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.ReplaceAll(s, "_", "")), "s")
	}
	for name := range fields {
		if plain(name) == plain(key) {
			return "; did you mean " + name + "?"
		}
	}
	return ""
}

func join(path, key string) string {
	if len(key) > 64 {
		key = key[:64] + "..."
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// kind says in an author's words what a JSON value is.
func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "fields"
	case '[':
		return "a list"
	case '"':
		return "text"
	case 't', 'f':
		return "a truth value"
	case 'n':
		return "nothing"
	}
	return "a number"
}

func clip(raw json.RawMessage) string {
	if len(raw) > 40 {
		return string(raw[:40]) + "..."
	}
	return string(raw)
}
