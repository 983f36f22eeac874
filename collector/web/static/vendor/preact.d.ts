// What we use of the module, loosely: components are written as text by htm, which no type checker reads.
type State<T> = [T, (next: T | ((before: T) => T)) => void];
export function html(strings: TemplateStringsArray, ...values: any[]): any;
export function render(tree: any, parent: Element): void;
export function useState<T>(initial: T | (() => T)): State<T>;
export function useEffect(effect: () => void | (() => void), reasons?: any[]): void;
export function useLayoutEffect(effect: () => void | (() => void), reasons?: any[]): void;
export function useRef<T>(initial: T): { current: T };
export function useMemo<T>(make: () => T, reasons: any[]): T;
export function useCallback<T extends (...given: any[]) => any>(callback: T, reasons: any[]): T;
