// The template oracle answers how Go itself renders a template with the functions of each incumbent.
//
// It reads one case per line of JSON on standard input and writes one answer per line:
//
//	{"template": "...", "data": <typed value>, "flavour": "sealed" | "external" | "probe",
//	 "left": "", "right": "", "missingkey": "invalid" | "zero" | "error"}
//	{"out": "<base64>"} or {"err": "..."}
//
// Texts that may hold any byte are base64 in "template64" and in the typed value {"t": "string64"}.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
	external "github.com/external-secrets/external-secrets/pkg/template/v2"
)

type testCase struct {
	Template   string          `json:"template"`
	Template64 *string         `json:"template64"`
	Data       json.RawMessage `json:"data"`
	Flavour    string          `json:"flavour"`
	Left       string          `json:"left"`
	Right      string          `json:"right"`
	MissingKey string          `json:"missingkey"`
}

type answer struct {
	Out *string `json:"out,omitempty"`
	Err *string `json:"err,omitempty"`
}

// typed is a value with its Go type: {"t": "int64", "v": 3}, {"t": "map[string]any", "v": {"a": {...}}}.
type typed struct {
	T string          `json:"t"`
	V json.RawMessage `json:"v"`
}

func decode(raw json.RawMessage) (any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var t typed
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	return t.value()
}

func as[T any](raw json.RawMessage) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}

func (t typed) value() (any, error) {
	switch t.T {
	case "nil":
		return nil, nil
	case "bool":
		return as[bool](t.V)
	case "int":
		return as[int](t.V)
	case "int64":
		return as[int64](t.V)
	case "uint64":
		return as[uint64](t.V)
	case "float64":
		return as[float64](t.V)
	case "string":
		return as[string](t.V)
	case "string64", "bytes":
		v, err := as[[]byte](t.V)
		if t.T == "string64" && err == nil {
			return string(v.([]byte)), nil
		}
		return v, err
	case "map[string]string":
		return as[map[string]string](t.V)
	case "[]string":
		return as[[]string](t.V)
	case "[]int":
		return as[[]int](t.V)
	case "time":
		var nanos [2]int64
		err := json.Unmarshal(t.V, &nanos)
		return time.Unix(nanos[0], nanos[1]).UTC(), err
	case "[]any":
		var raws []json.RawMessage
		if err := json.Unmarshal(t.V, &raws); err != nil {
			return nil, err
		}
		out := make([]any, len(raws))
		for i, raw := range raws {
			v, err := decode(raw)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case "map[string]any":
		var raws map[string]json.RawMessage
		if err := json.Unmarshal(t.V, &raws); err != nil {
			return nil, err
		}
		out := make(map[string]any, len(raws))
		for k, raw := range raws {
			v, err := decode(raw)
			if err != nil {
				return nil, err
			}
			out[k] = v
		}
		return out, nil
	}
	return nil, fmt.Errorf("unknown type %q", t.T)
}

func without(funcs template.FuncMap, names ...string) template.FuncMap {
	out := template.FuncMap{}
	for name, f := range funcs {
		out[name] = f
	}
	for _, name := range names {
		delete(out, name)
	}
	return out
}

func with(funcs, more template.FuncMap) template.FuncMap {
	out := without(funcs)
	for name, f := range more {
		out[name] = f
	}
	return out
}

var (
	sealedFuncs   = without(sprig.TxtFuncMap(), "env", "expandenv", "getHostByName")
	externalFuncs = with(without(external.FuncMap(), "env", "expandenv", "getHostByName"), newer)
	probeFuncs    = with(externalFuncs, probes)
)

func render(c testCase) (out []byte, err error) {
	defer func() {
		// Go's own stack overflows and the like cannot be recovered from; ordinary panics can.
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	text := c.Template
	if c.Template64 != nil {
		raw, err := base64.StdEncoding.DecodeString(*c.Template64)
		if err != nil {
			return nil, err
		}
		text = string(raw)
	}
	data, err := decode(c.Data)
	if err != nil {
		return nil, fmt.Errorf("bad case: %w", err)
	}
	funcs := sealedFuncs
	switch c.Flavour {
	case "external":
		funcs = externalFuncs
	case "probe":
		funcs = probeFuncs
	}
	t := template.New("t").Delims(c.Left, c.Right).Funcs(funcs)
	if c.MissingKey != "" {
		t = t.Option("missingkey=" + c.MissingKey)
	}
	if t, err = t.Parse(text); err != nil {
		return nil, err
	}
	var buf limited
	if err := t.Execute(&buf, data); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// limited stops an output that ours would refuse too.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > 4<<20 {
		return 0, fmt.Errorf("oracle: output too large")
	}
	return l.Buffer.Write(p)
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "names" {
		for _, funcs := range []template.FuncMap{sealedFuncs, externalFuncs} {
			names := make([]string, 0, len(funcs))
			for name := range funcs {
				names = append(names, name)
			}
			fmt.Println(strings.Join(names, " "))
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "bench" {
		bench()
		return
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var c testCase
			var a answer
			if err := json.Unmarshal(line, &c); err != nil {
				text := "bad case: " + err.Error()
				a.Err = &text
			} else if rendered, err := render(c); err != nil {
				text := err.Error()
				a.Err = &text
			} else {
				text := base64.StdEncoding.EncodeToString(rendered)
				a.Out = &text
			}
			if err := encoder.Encode(a); err != nil {
				os.Exit(1)
			}
			out.Flush()
		}
		if err != nil {
			return
		}
	}
}

// bench times 10,000 renders of the template on standard input, with and without parsing, and prints nanoseconds.
func bench() {
	const rounds = 10_000
	var c testCase
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		panic(err)
	}
	data, err := decode(c.Data)
	if err != nil {
		panic(err)
	}
	t := template.Must(template.New("t").Funcs(sealedFuncs).Parse(c.Template))
	start := time.Now()
	for range rounds {
		var buf bytes.Buffer
		if err := t.Execute(&buf, data); err != nil {
			panic(err)
		}
	}
	render := time.Since(start)
	start = time.Now()
	for range rounds {
		var buf bytes.Buffer
		t := template.Must(template.New("t").Funcs(sealedFuncs).Parse(c.Template))
		if err := t.Execute(&buf, data); err != nil {
			panic(err)
		}
	}
	fmt.Printf("{\"render\": %d, \"parse_and_render\": %d}\n", render.Nanoseconds(), time.Since(start).Nanoseconds())
}
